// Internal errors, and those of what the user hands in: config, model folder, training text.
#include "src/util/error_texts.h"

namespace shori {
namespace {

constexpr ErrorInfo kTexts[] = {
    {"E0001", 1, "internal error",
     "A check inside the program found something that its authors held to be impossible. It is a bug of ours, not a "
     "mistake of "
     "yours. The program stops before anything is written from the doubtful state; the last durable checkpoint stands. "
     "Report the message with its file, line and build id, and `run.json` from the output folder."},

    // Config.
    {"E0101", 2, "not a key of shori-train",
     "The config holds a key that the program does not know. An unknown key is never ignored, because a mistyped "
     "`lora_apha: 16` would then train with the default without a word. Write the name that is proposed, or delete the "
     "line. "
     "`--help-keys` lists all keys."},
    {"E0102", 2, "key is given twice",
     "The same key stands twice in one mapping. YAML readers differ in which one they take (some the first, some the "
     "last), so "
     "neither is taken here. Delete one of the two lines."},
    {"E0103", 2, "value is outside its range",
     "The value has the right form, but lies outside what the key allows; the message names the range. A frequent "
     "cause is a "
     "lost sign in an exponent: `7.25e5` for `7.25e-5`."},
    {"E0104", 2, "value has the wrong form",
     "The key wants another kind of value: a number without quotes, `true` or `false`, one of a few words, or a list. "
     "Examples of what is refused: `16k` (write `16384`), `\"5\"` in quotes, `7,25e-5` with a decimal comma, `yes` "
     "(write "
     "`true`), `3.0` where an integer is wanted."},
    {"E0105", 2, "a tab indents this line",
     "YAML allows only spaces for indentation. Editors often show a tab like spaces. Replace each tab at the beginning "
     "of a "
     "line by two spaces."},
    {"E0106", 2, "number with more than one meaning",
     "Numbers such as `010`, `0x10`, `0b11`, `1_000` and `1:30` are read differently by different YAML readers: `010` "
     "is "
     "eight for one and ten for another. Write the number in plain decimal digits."},
    {"E0107", 2, "keys that do not go together",
     "Two keys, each fine alone, contradict each other or leave a needed one out; the message names both places. "
     "Example: "
     "`adapter: qlora` trains on 4-bit weights and needs `load_in_4bit: true`."},
    {"E0108", 2, "path or model does not exist",
     "A path in the config leads nowhere. Relative paths are taken from the folder of the config file, not from where "
     "the program "
     "is started. A model id such as `mistralai/Mistral-7B-Instruct-v0.2` is looked up in the local Hugging Face cache "
     "only; "
     "nothing is ever downloaded by the program."},
    {"E0109", 2, "a part of YAML that is not used here",
     "Anchors (`&a`), aliases (`*a`), tags (`!!int`), merge keys (`<<:`) and several documents in one file are "
     "refused: they "
     "let a small file stand for a huge or endless one, and readers disagree on them. Write the value out."},
    {"E0110", 2, "not a finite number",
     "The key wants a finite number; `.nan`, `.inf` and `-.inf` have no meaning for it. Write the number."},
    {"E0111", 2, "not a readable YAML config",
     "The file cannot be read as one YAML mapping of plain UTF-8 text. Causes: another encoding (UTF-16, "
     "Windows-1252), a byte "
     "order mark, a NUL, more than 1 MiB, more than 8 levels, or a mistake in the YAML itself, which is then named "
     "with line "
     "and column. Save the file as UTF-8 without a byte order mark."},
    {"E0112", 2, "a key of Axolotl that has no meaning here",
     "The key is known from Axolotl, but this program has nothing that it could switch: for example `deepspeed` on one "
     "GPU. "
     "It is accepted while it is empty, false or null, so that published configs can be used; a real value is refused "
     "rather "
     "than ignored. The message says what the key would have done. Delete the line."},
    {"E0113", 2, "not of the form key=value",
     "`--set` takes one key and one value joined by an equals sign: `--set learning_rate=5e-5`. The value is read by "
     "the rules "
     "of the config file. The key must be one that the config may hold."},
    {"E0114", 2, "required key is missing",
     "A key without a sensible default is not in the config: `base_model`, `datasets`, `output_dir` or "
     "`learning_rate`. "
     "Add the line. `--help-keys` tells what each key means."},
    {"E0115", 2, "this config trains 0 steps",
     "With these values no optimizer step would be taken, for example by `num_epochs: 0`, `max_steps: 0`, or because "
     "no data "
     "is left. A run that trains nothing is taken for a mistake."},

    // Model folder.
    {"E0201", 3, "shard name is not a plain file name",
     "`model.safetensors.index.json` names a file that is not a plain name ending in `.safetensors`: it holds a slash, "
     "`..`, or other characters. Such a name could lead outside the model folder, so nothing is opened. Get the model "
     "again "
     "from its publisher."},
    {"E0202", 3, "pickle file in place of safetensors",
     "The folder or file holds weights in a format based on Python's pickle (`.bin`, `.pt`, `.pth`, `.ckpt`, `.pkl`). "
     "Such "
     "files can run code when they are read, so they are never read, whatever their name. Get the `.safetensors` copy "
     "of the "
     "same model; most publishers offer both."},
    {"E0203", 3, "model file is missing or incomplete",
     "A file that the model needs is not there, cannot be opened, or is shorter or longer than its own header says. "
     "The usual "
     "cause is a download that broke off. Download that file again and compare its size with the publisher's."},
    {"E0204", 3, "value in config.json that cannot be",
     "`config.json` of the model lacks a value, or holds one of the wrong kind, outside its range, or in contradiction "
     "with "
     "another: for example a `hidden_size` that the number of heads does not divide. Values are read from the file and "
     "never "
     "guessed. Only models of the Mistral architecture are trained."},
    {"E0205", 3, "tokenizer and model differ in size",
     "The tokenizer has another number of pieces than the embedding has rows. Ids without a row cannot be trained. Use "
     "the "
     "`tokenizer.model` that came beside the weights."},
    {"E0206", 3, "wrong tokenizer for BlockML",
     "The block marks of BlockML must be single tokens of the tokenizer; in this one they are not. Such a tokenizer "
     "would make "
     "every message longer and differ from what the format was designed for. Use the tokenizer of Mistral 7B v0.1 or "
     "v0.2."},
    {"E0207", 3, "safetensors file breaks the format",
     "The header of a safetensors file breaks a rule of the format; the message names the rule and the place. The "
     "rules: "
     "S1 sizes of file and header agree; S2 the header is one JSON object of UTF-8 text padded with spaces; S3 no key "
     "twice; "
     "S4 `__metadata__` maps texts to texts; S5 each tensor has exactly dtype, shape and data_offsets; S6 a known "
     "dtype; "
     "S7 the tensors cover the data without hole or overlap, each as large as its shape says; S8 the same for tensors "
     "of no "
     "element. The file is damaged or was made to mislead. Get it again."},
    {"E0208", 3, "tensors are missing, unexpected or double",
     "The files do not hold exactly the tensors that the architecture in `config.json` needs: one is missing, one more "
     "is there, "
     "or one is found in two shards. Weights and `config.json` are probably of different models."},
    {"E0209", 3, "tensor has another dtype or shape",
     "A tensor has not the shape that `config.json` makes necessary, or its numbers are not BF16, F16 or F32. Weights "
     "and "
     "`config.json` are probably of different models, or the file was changed."},
    {"E0210", 3, "weights hold NaN or infinity",
     "A weight is not a finite number. Training on it would turn everything into NaN. The message names the tensor and "
     "the "
     "element. Get the file again; if it is the same, the publisher's file is broken."},
    {"E0211", 3, "tokenizer.model breaks a rule",
     "The tokenizer file is checked piece by piece before the tokenizer library sees it, because that library is known "
     "to "
     "crash on crafted files. The message names the byte and the rule. Take `tokenizer.model` from the model's "
     "publisher."},
    {"E0212", 3, "not a regular file",
     "Only regular files are read. The path leads to a folder, a FIFO, a socket or a device, which could block the "
     "program or "
     "never end."},
    {"E0213", 3, "file changed or could not be read",
     "Size or modification time of an input differ from those at its opening, or the disk refused to deliver a part of "
     "it. What "
     "was read so far may be a mixture of two files and is not used. Let no other program write to the inputs, then "
     "start again."},
    {"E0214", 3, "malformed JSON file of a model or adapter",
     "A JSON file of the model or adapter folder breaks a rule: a key given twice, a mistake in the JSON, more than 16 "
     "MiB or 16 "
     "levels, bytes that are not UTF-8. Readers differ in what they make of such files, so it is not used. Get it "
     "again."},
    {"E0215", 3, "link that leaves the folder",
     "A file of the model folder is a link to somewhere outside of it. The links of a Hugging Face cache "
     "(`snapshots/<revision>/x` to `blobs/<hash>`) are followed; any other is refused, so that a downloaded folder "
     "cannot make "
     "the program read other files of yours. Copy the file into the folder."},
    {"E0216", 3, "this base is quantised in a way that cannot be used",
     "The model folder holds weights that were quantised before. Only NF4 as bitsandbytes writes it is read, and only "
     "for `adapter: qlora`; merging and 16-bit training need the 16-bit weights. Use the folder with those."},
    {"E0217", 3, "quantisation data of the base do not fit",
     "A linear layer of a base that bitsandbytes quantised lacks one of its parts, or a part has another size, type or "
     "content than its `quant_state` says. The files are damaged or of different models. Get them again, or use the "
     "16-bit weights."},

    // Training text.
    {"E0301", 3, "block is not closed",
     "A block of BlockML begins with `▀` and a role and ends with `▄`. Here the next block or the end of the file "
     "comes first. "
     "Add the missing `▄`."},
    {"E0302", 3, "unknown role",
     "Directly behind `▀` one of the roles must stand, in lower case: title, tags, lore, scenario, description, "
     "message, ooc."},
    {"E0303", 3, "unknown length",
     "The head of a message may carry ` (length: WORD)` with exactly one space before the bracket and one of nine "
     "words: nano, "
     "micro, tiny, short, medium, long, massive, huge, enormous. Other roles have no length."},
    {"E0304", 3, "byte that is not plain UTF-8 text",
     "Training text is UTF-8 without a byte order mark and without control characters other than tab and newline. "
     "Bytes from "
     "0x80 to 0x9f usually mean Windows-1252: convert with `iconv -f cp1252 -t utf-8`."},
    {"E0305", 3, "longer than sequence_len",
     "Whole conversations are trained, and these are longer than `sequence_len`. They are neither cut nor left out "
     "without "
     "your word: raise `sequence_len`, or choose `excess_length_strategy: split` or `drop`."},
    {"E0306", 3, "nothing to train on",
     "A conversation has no `message` block, or a data set has no token that the loss would count. With "
     "`train_on_inputs: false` only messages are trained."},
    {"E0307", 3, "evaluation data is also in training data",
     "Conversations of the evaluation set are found in the training set as well, so that the evaluation loss would "
     "look better "
     "than it is. Remove them from one of the two, or say `allow_overlap: true`."},
    {"E0308", 3, "text of a control token",
     "The text holds `<s>`, `</s>` or `<unk>` in letters. One tokenizer reads them as plain pieces, another as control "
     "tokens. "
     "Delete them: the program adds begin and end tokens by itself."},
    {"E0309", 3, "line ends in CR LF",
     "The file has Windows line ends. The extra character would be trained as part of every line. Remove it: "
     "`sed -i 's/\\r$//' FILE`."},
    {"E0310", 3, "text outside a block",
     "Between blocks only white space and `[INST] … [/INST]` may stand; here is other text, or a `▄` that closes "
     "nothing. Put "
     "the text in a block, or delete it."},
    {"E0311", 3, "block is empty",
     "A block or an `[INST]` holds nothing but white space. Write its text, or delete it."},
    {"E0312", 3, "not the JSON or YAML that is wanted",
     "Each line of a `.jsonl` file is one JSON object with the field that the data set's type names, for example "
     "`{\"text\": \"…\"}`. Empty lines, keys given twice and fields of another kind are refused. A conversation "
     "written as "
     "YAML has the keys id, category, rating, title, tags, lore, characters, scenario, system, messages; `shori-data "
     "convert "
     "--to yaml` shows the form."},
    {"E0313", 3, "sample begins with two BOS",
     "A pre-tokenised sample begins with the begin token twice. The model has never seen that. Drop one."},
    {"E0314", 3, "token id or label that cannot be",
     "A pre-tokenised sample holds an id outside the vocabulary, or `labels` of another length, or a label that is "
     "neither the "
     "token's id nor -100. The data was probably made with another tokenizer."},
    {"E0315", 3, "matches no file",
     "An entry of `datasets` or `test_datasets` matches no file. Relative paths are taken from the folder of the "
     "config file."},
    {"E0316", 3, "[INST] is not closed",
     "An `[INST]` must be closed by `[/INST]` before the next block begins or ends, and `[/INST]` needs an `[INST]` "
     "before it."},
    {"E0317", 3, "limit is passed",
     "A part of the text is larger than the parser allows: a block 1 MiB, a conversation 64 MiB, a line of JSONL 64 "
     "MiB, "
     "1,000,000 parts, a block's head 256 bytes. Usually a closing mark is missing; otherwise split the file."},
    {"E0318", 3, "id is given twice",
     "Two conversations carry the same id, so that a message about one could mean the other. Change one of them."},
    {"E0319", 3, "lint rule set to error",
     "A rule about style or order, which the config sets to `error`, is broken; the message names the rule. Mend the "
     "text, or "
     "set that rule to `warn`."},
};

}  // namespace

std::span<const ErrorInfo> input_error_texts() { return kTexts; }

}  // namespace shori
