// Internal errors, and errors in what the user hands in: config, model folder, training text.
#include "src/util/errors/error_texts.h"

namespace shori {
namespace {

constexpr ErrorInfo kInputTexts[] = {
    {"E0001", 1, "internal error",
     R"(A check inside the program found a state that should be impossible. This is a bug in the program,
not a mistake of yours. The program stops before it writes anything from that state; the last
durable checkpoint is intact. Please report the message with its file, line and build id, and
`run.json` from the output folder.)"},

    // Config.
    {"E0101", 2, "not a key of shori-train",
     R"(The config has a key that the program does not know. Unknown keys are never ignored, because a
mistyped `lora_apha: 16` would then silently train with the default. Use the name that the message
suggests, or delete the line. `--help-keys` lists all keys.)"},
    {"E0102", 2, "key is given twice",
     R"(The same key appears twice in one mapping. Some YAML readers use the first value and some the last,
so the program uses neither. Delete one of the two lines.)"},
    {"E0103", 2, "value is outside its range",
     R"(The value has the right form but is outside the range of the key, which the message names. A common
cause is a missing sign in an exponent: `7.25e5` instead of `7.25e-5`.)"},
    {"E0104", 2, "value has the wrong form",
     R"(The key needs another kind of value: a number without quotes, `true` or `false`, one of a few words,
or a list. Examples of what is refused: `16k` (write `16384`), `"5"` in quotes, `7,25e-5` with a
decimal comma, `yes` (write `true`), `3.0` where an integer is needed.)"},
    {"E0105", 2, "a tab indents this line",
     R"(YAML allows only spaces for indentation, and many editors show a tab as spaces. Replace each tab at
the start of a line with two spaces.)"},
    {"E0106", 2, "number with more than one meaning",
     R"(YAML readers disagree about numbers such as `010`, `0x10`, `0b11`, `1_000` and `1:30`: one reads
`010` as eight, another as ten. Write the number in plain decimal digits.)"},
    {"E0107", 2, "keys that do not go together",
     R"(Two keys that are each valid contradict each other, or one of them needs a key that is missing. The
message names both lines. Example: `adapter: qlora` trains on 4-bit weights and needs `load_in_4bit:
true`. Folders that must not lie in one another belong here as well: a run folder in its own data would
be read as data, and a run folder that holds data or the model would be moved aside with them.)"},
    {"E0108", 2, "path or model does not exist",
     R"(A path in the config does not exist. Relative paths start at the folder of the config file, not at
the folder in which the program was started. A model id such as `mistralai/Mistral-7B-Instruct-v0.2`
is looked up in the local Hugging Face cache only: the program never downloads anything. The cache is
the folder in HF_HUB_CACHE, else HUGGINGFACE_HUB_CACHE, else HF_HOME/hub, else
XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub; TRANSFORMERS_CACHE is searched after it.
Without `refs/main` the only snapshot is used. A snapshot with links to missing files is refused.)"},
    {"E0109", 2, "a part of YAML that is not used here",
     R"(Anchors (`&a`), aliases (`*a`), tags (`!!int`), merge keys (`<<:`) and more than one document per
file are refused: they let a small file expand into a huge or endless one, and readers disagree
about them. Write the value out in full.)"},
    {"E0110", 2, "not a finite number",
     R"(The key needs a finite number. `.nan`, `.inf` and `-.inf` have no meaning for it. Write the number
itself.)"},
    {"E0111", 2, "not a readable YAML config",
     R"(The file cannot be read as one YAML mapping in plain UTF-8. Possible causes: another encoding
(UTF-16, Windows-1252), a NUL byte, more than 1 MiB, more than 8 levels, or a YAML syntax error, which
the message then names with line and column. Save the file as UTF-8; a byte order mark at its start is
allowed.)"},
    {"E0112", 2, "a key of Axolotl that has no meaning here",
     R"(Axolotl has this key, but nothing in this program corresponds to it: for example `deepspeed` on one
GPU. It is accepted while it is off (empty, 0, false, null, none), so that published configs can be
used. Keys that repeat what Mistral is (`model_type: MistralForCausalLM`), that only choose kernels or
memory, or that report to services (`wandb_project`) are accepted with every such value and listed at
the start. A value that would change results is refused rather than ignored; the message says what the
key would have done. Delete the line.)"},
    {"E0113", 2, "not of the form key=value",
     R"(`--set` takes one key and one value joined by an equals sign: `--set learning_rate=5e-5`. The value
is read by the rules of the config file, and the key must be one that the config may have.)"},
    {"E0114", 2, "required key is missing",
     R"(The config lacks a key that has no sensible default: `base_model`, `datasets`, `output_dir` or
`learning_rate`. Add the line. `--help-keys` explains every key.)"},
    {"E0115", 2, "this config trains 0 steps",
     R"(With these values the run would not take a single optimizer step, for example because of
`num_epochs: 0` or `max_steps: 0`, or because no data is left. A run that trains nothing is treated
as a mistake.)"},
    {"E0116", 2, "options that cannot be used like this",
     R"(The command line lacks something, contradicts itself, or an option has a value of the wrong form: for
example `--from` together with `--only`, `--gpu-memory` without `--plan`, or `--fix` without a place
for its result. The message says what is expected. `--help` shows every option with an example.)"},
    {"E0117", 2, "nothing has this name or number",
     R"(An option or `skip_samples` names a stage, a sample or an error code that does not exist. The message
shows what there is, or the nearest name. The stages of a recipe are the items of `stages`, or with rates `a -> b` the
categories of its datasets.)"},
    {"E0118", 2, "path that cannot be expanded",
     R"(In paths of a config and of the command line, `~` at the start is the home folder, `~name` that of
another user, and `$NAME` or `${NAME}` the value of a variable of the environment. The message says
what has no value: a variable that is not set or empty, a user that does not exist, or a form of
`${...}` that only shells know. `~` elsewhere in a path would be a folder of that name and is refused.
Write the path out, or set the variable in the shell that starts the program: `export DATA=/mnt/data`.)"},
    {"E0119", 2, "a warm-up that takes the whole run",
     R"(The learning rate rises over `warmup_steps` from 0, and step 1 of a warm-up has rate 0. A run of one
step with a warm-up would change nothing. Set `warmup_steps: 0`, or train more steps: more data, more
epochs, or a smaller `gradient_accumulation_steps`. A warm-up that is only too long is warning W0101.)"},
    {"E0120", 2, "address that cannot be listened on",
     R"(`shori-chat --serve` could not open its address. Mostly another program, or a server that was started
before, listens on the port: `ss -ltnp` shows which. Otherwise the host is no address of this machine,
or the port is below 1024 and needs an administrator. Take another port; with 0 the system chooses a
free one and the first line of the log names it.)"},

    // Model folder.
    {"E0201", 3, "shard name is not a plain file name",
     R"(`model.safetensors.index.json` names a file that is not a plain name ending in `.safetensors`: it
has a slash, `..` or other unexpected characters. Such a name could lead outside the model folder,
so nothing is opened. Download the model from its publisher again.)"},
    {"E0202", 3, "pickle file in place of safetensors",
     R"(The folder or file has weights in a format based on Python's pickle (`.bin`, `.pt`, `.pth`, `.ckpt`,
`.pkl`). Such files can run code when they are loaded, so the program never reads them, whatever
their name. Download the `.safetensors` version of the same model; most publishers offer both.)"},
    {"E0203", 3, "model file is missing or incomplete",
     R"(A file that the model needs does not exist, cannot be opened, is empty, is a Git LFS pointer or a web page, or is
shorter or longer than its own header says. The usual causes are an interrupted download and a clone without
git-lfs. Download that file again and compare its size with the publisher's.)"},
    {"E0204", 3, "value in config.json that cannot be",
     R"(The model's `config.json` lacks a value, or has one of the wrong kind, outside its range, or in
contradiction with another: for example a `hidden_size` that is not divisible by the number of
heads. Values are read from the file and never guessed. Only models of the Mistral architecture can
be trained. `shori-export gguf` refuses a base with a `sliding_window`, which llama.cpp would ignore.)"},
    {"E0205", 3, "tokenizer and model differ in size",
     R"(The tokenizer has more tokens than the embedding has rows. Ids without a row cannot be trained. Use
the `tokenizer.model` that was published with the weights. More rows than tokens are accepted: no text
reaches them, and they are kept as they are.)"},
    {"E0206", 3, "wrong tokenizer for BlockML",
     R"(BlockML's marks must each be a single token, white space must be kept as it is, and every character
must have an id: a control piece that is a single character takes it away. In this tokenizer that does
not hold, and the model would see something else than the format intends. Use the tokenizer of Mistral
7B v0.1, v0.2 or v0.3.)"},
    {"E0207", 3, "safetensors file breaks the format",
     R"(The header of a safetensors file breaks a rule of the format. The message names the rule and where
it is broken. The rules are:
  S1  the sizes of file and header agree
  S2  the header is one JSON object in UTF-8, padded with spaces
  S3  no key appears twice
  S4  `__metadata__` maps strings to strings
  S5  each tensor has exactly dtype, shape and data_offsets
  S6  the dtype is a known one
  S7  the tensors cover the data without gap or overlap, each as large as its shape says
  S8  the same for tensors without elements
The file is damaged, or was made to mislead. Download it again.)"},
    {"E0208", 3, "tensors are missing, unexpected or double",
     R"(The files do not have exactly the tensors that the architecture in `config.json` needs: a tensor is
missing, there is one too many, or one is in two shards. The weights and `config.json` probably
belong to different models.)"},
    {"E0209", 3, "tensor has another dtype or shape",
     R"(A tensor does not have the shape that follows from `config.json`, or its numbers are not BF16, F16
or F32. The weights and `config.json` probably belong to different models, or the file was modified.)"},
    {"E0210", 3, "weights hold NaN or infinity",
     R"(A weight is not a finite number; training with it would turn everything into NaN. The message names
the tensor and the element. Download the file again; if nothing changes, the published file is
broken.)"},
    {"E0211", 3, "tokenizer.model breaks a rule",
     R"(The program checks every part of the tokenizer file before the tokenizer library sees it, because
that library is known to crash on crafted files. The message names the byte and the rule. Download
`tokenizer.model` from the model's publisher again.)"},
    {"E0212", 3, "not a regular file",
     R"(The path leads to a folder, a FIFO, a socket or a device. Only regular files are read, because
reading anything else could block the program or never end.)"},
    {"E0213", 3, "file changed or could not be read",
     R"(The size or modification time of an input file changed after it was opened, or the disk could not
deliver a part of it. What was read so far may be a mixture of two versions and is not used. Make
sure that no other program writes to the inputs, then start again.)"},
    {"E0214", 3, "malformed JSON file of a model or adapter",
     R"(A JSON file in the model or adapter folder breaks a rule: a key given twice, a syntax error, more
than 16 MiB or 16 levels, or bytes that are not UTF-8. Programs read such files in different ways,
so this one does not use it. Download the file again.)"},
    {"E0215", 3, "link that leaves the folder",
     R"(A file of the model folder is a link to a target outside the folder. The links of a Hugging Face
cache (`snapshots/<revision>/x` to `blobs/<hash>`) are followed. All others are refused, so that a
downloaded folder cannot make the program read your other files. Copy the file into the folder.)"},
    {"E0216", 3, "this base is quantised in a way that cannot be used",
     R"(The weights in the model folder are already quantised. The program reads only NF4 as bitsandbytes
writes it, and only for `adapter: qlora`; merging and 16-bit training need the 16-bit weights. Use a
folder that has them.)"},
    {"E0217", 3, "quantisation data of the base do not fit",
     R"(In a base that bitsandbytes quantised, a linear layer lacks one of its tensors, or a tensor's size,
dtype or content disagrees with its `quant_state`. The files are damaged or belong to different
models. Download them again, or use the 16-bit weights.)"},

    {"E0218", 3, "no tokenizer is named",
     R"(This command counts tokens, and the number depends on the tokenizer, so it needs the
`tokenizer.model` of the model that will be trained. Name that file or its folder with `--tokenizer`,
set the variable SHORI_TOKENIZER, or give a training config, whose `base_model` has one.)"},

    // Training text.
    {"E0301", 3, "block is not closed",
     R"(A BlockML block begins with `▀` and a role and ends with `▄`. Here the next block begins, or the
file ends, before that. Add the missing `▄`.)"},
    {"E0302", 3, "unknown role",
     R"(One of these roles must follow `▀` immediately, in lower case: title, tags, lore, scenario,
description, message, ooc.)"},
    {"E0303", 3, "unknown length",
     R"(The role `message` may be followed by ` (length: WORD)`, with exactly one space before the bracket
and one of nine words: nano, micro, tiny, short, medium, long, massive, huge, enormous. Other roles
have no length.)"},
    {"E0304", 3, "byte that is not plain UTF-8 text",
     R"(Training text is UTF-8 without control characters other than tab and newline. UTF-16, a byte order
mark and line ends of other systems are read as what they mean, and counted. Other encodings,
compressed files, NULs and single wrong bytes are refused: the help is a command that converts the
file, unpacks it, or deletes the bytes. Bytes from 0x80 to 0x9f usually mean Windows-1252.)"},
    {"E0305", 3, "longer than sequence_len",
     R"(These conversations are longer than `sequence_len`. Conversations are trained as a whole, and the
program neither cuts nor drops any of them unless you ask for it: raise `sequence_len`, or set
`excess_length_strategy` to `split` or `drop`.)"},
    {"E0306", 3, "nothing to train on",
     R"(A conversation has no `message` block, or a dataset has no token that counts towards the loss. With
`train_on_inputs: false` only messages are trained.)"},
    {"E0307", 3, "evaluation data is also in training data",
     R"(Conversations of the evaluation set are also in the training set, so the evaluation loss would look
better than it is. Remove them from one of the two, or set `allow_overlap: true`.)"},
    {"E0308", 3, "text of a control token",
     R"(The text contains `<s>`, `</s>` or `<unk>`, or another control piece of the tokenizer such as
`[TOOL_CALLS]`, as plain characters. One program reads them as text, another as control tokens. Delete
them: the program adds the begin and end tokens itself. `[INST]` and `[/INST]` are part of BlockML and
become their ids where the tokenizer has such pieces.)"},
    {"E0309", 3, "CR in a text",
     R"(A text that is not read from a file holds a carriage return, which would be trained as part of its
line. In files CR LF and CR are read as the end of a line, and counted.)"},
    {"E0310", 3, "text outside a block",
     R"(Only white space and `[INST] … [/INST]` may appear between blocks. Here is other text, or a `▄` that
closes no block. Move the text into a block, or delete it.)"},
    {"E0311", 3, "block is empty",
     R"(A block or an `[INST]` contains nothing but white space. Write its text, or delete the block.)"},
    {"E0312", 3, "not the expected JSON or YAML",
     R"(Each line of a `.jsonl` file is one JSON object with the field that the type of the dataset names,
for example `{"text": "…"}`. Blank lines are skipped and counted; keys given twice, fields of another
kind, JSON arrays and objects over several lines are refused. A
conversation in YAML has the keys id, category, rating, title, tags, lore, characters, scenario,
system and messages; `shori-data convert --to yaml` shows the form. A chat of another
program is named with the `shori-data import` that takes it.)"},
    {"E0313", 3, "sample begins with two BOS",
     R"(A pre-tokenised sample begins with the begin token (BOS) twice, which the model never saw in its own
training. Remove one of them.)"},
    {"E0314", 3, "token id or label that cannot be",
     R"(A pre-tokenised sample has an id outside the vocabulary, `labels` of another length than
`input_ids`, or a label that is neither the token's id nor -100. The data was probably made with
another tokenizer.)"},
    {"E0315", 3, "matches no file",
     R"(An entry of `datasets` or `test_datasets` matches no file. Relative paths start at the folder of the
config file, not at the folder in which the program was started.)"},
    {"E0316", 3, "[INST] is not closed",
     R"(An `[INST]` must be closed by `[/INST]` before the next block begins or ends, and every `[/INST]`
needs an `[INST]` before it.)"},
    {"E0317", 3, "limit is passed",
     R"(A part of the text is larger than the parser allows: 1 MiB for a block, 64 MiB for a conversation or
a line of JSONL, 1,000,000 parts, 256 bytes for the head of a block. Usually a closing mark is
missing; otherwise split the file.)"},
    {"E0318", 3, "id is given twice",
     R"(Two conversations have the same id, so a message about one of them could mean the other. Change one
of the ids.)"},
    {"E0319", 3, "lint rule set to error",
     R"(A rule about style or order that the config sets to `error` is broken; the message names the rule.
Fix the text, or set the rule to `warn`.)"},
};

}  // namespace

std::span<const ErrorInfo> input_error_texts() { return kInputTexts; }

}  // namespace shori
