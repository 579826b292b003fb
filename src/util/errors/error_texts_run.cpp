// Errors of runs and exports, and warnings.
#include "src/util/errors/error_texts.h"

namespace shori {
namespace {

constexpr ErrorInfo kRunTexts[] = {
    // Device and plan.
    {"E0401", 5, "the plan does not fit into the memory",
     R"(Before anything is loaded, the program adds up the memory that the run will need, by category. The
sum is larger than what is free. The message shows the table and what a smaller `sequence_len` or
another key would save. This error is also raised when a trial pass before step 1 runs out of
memory: then another program has taken memory since, or the plan is wrong. With `activation_memory: auto`
the stage is first planned again with one layer less, up to three times.)"},
    {"E0402", 5, "program was built for another GPU",
     R"(The program has machine code for other GPU architectures than the one found. Configure the build
again with the architecture that the message names.)"},
    {"E0403", 5, "driver is too old",
     R"(The GPU driver is older than the CUDA version that the program was built with. Update the driver,
then start again.)"},
    {"E0404", 5, "no usable GPU",
     R"(The config asks for a GPU, but none can be used: there is none, the driver is not loaded or does not
start, this user may not open the GPU's devices, another process holds it exclusively, or this
program was built without CUDA. The program never falls back to the CPU silently: ask for it with
`device: cpu`, which is meant for tiny models.)"},
    {"E0405", 5, "GPU memory was taken by another process",
     R"(After the run was planned and before it started, another process took GPU memory that the plan
counted on. Stop that process, or reduce what the run needs.)"},
    {"E0406", 5, "the model's shape does not suit a GPU",
     R"(The GPU kernels read rows in vectors of 16 bytes and keep one row of a matrix in on-chip memory, so
the model's sizes must be multiples of 8 and not too large. Published Mistral models meet this.
Other models can be trained with `device: cpu`.)"},
    {"E0407", 5, "CUDA libraries do not fit",
     R"(The program uses the GPU through libtorch and the NVIDIA libraries that come with it. What was found
is not what the program was built with: another release of libtorch, a missing library, or two
copies of one. Install exactly the release that the message names, with all of its NVIDIA packages.)"},

    {"E0408", 5, "instruction set that this machine lacks",
     R"(SHORI_CPU_ISA in the environment lowers the instructions that the CPU code uses: `plain`, `avx2`,
`avx512`, `amx`. It names none of these, or more than this processor and this system offer. Without it
the best one up to `avx512` is used. Results of `plain`, `avx2` and `avx512` are the same bytes; `amx` multiplies in
another order. With SHORI_OPS=reference any of them may be named, because its loops need none.)"},
    {"E0409", 2, "the prompt does not fit into the context",
     R"(A reply needs room for at least one token after the prompt. The context is the number of tokens of
prompt and reply together for which memory was reserved at the start. Shorten the prompt, or start with
a larger `--context N`, at most what the model's config.json allows.)"},

    // Run folder.
    {"E0501", 7, "run folder is in use",
     R"(Another program holds the lock of `output_dir`; the message says which. Two programs in one folder
would mix their checkpoints. The lock is released when its program ends, also after a crash. Stop
the other program, or choose another folder.)"},
    {"E0502", 4, "no room on the disk",
     R"(The disk has no space for the next checkpoint. The run pauses and continues by itself as soon as
there is space; the last durable step is safe. Ctrl-C ends the run, and `--resume` continues it
later.)"},
    {"E0503", 0, "damaged checkpoint is skipped",
     R"(A checkpoint does not match its own checksums. The run uses the one before it and repeats the steps
in between, with the same result. The damaged file is kept in `checkpoints/damaged`. Check the disk
and the memory of the machine.)"},
    {"E0504", 2, "config changed since the checkpoint",
     R"(`--resume` continues exactly the run that was started, so keys that would change its result must
have the same values as then. The message lists every difference with the line that has the new
value. Restore those lines, or begin a new stage with `init_from`.)"},
    {"E0505", 3, "adapter was trained on another base",
     R"(The adapter records the fingerprint of the weights it was trained on, and the SHA-256 of their
tokenizer.model, and the base model has another. An adapter is only meaningful on its own base. Use
the base that the adapter names.)"},
    {"E0506", 4, "no usable checkpoint",
     R"(The run folder has no usable checkpoint, or one of its files cannot be read; the message gives the
reason for each. `--resume` makes run.json again from the newest checkpoint, and done.json as well once
the damaged one is deleted. Where no checkpoint is usable, restore the folder from a backup, train the
stage again with `--from STAGE`, which moves its folder aside, or choose another `output_dir`.)"},
    {"E0507", 2, "folder already holds a run",
     R"(`output_dir` already has a run in it. It will not be resumed or overwritten unless you ask:
`--resume` continues it, `--from STAGE` moves its folder aside and trains the stage again, and
another `output_dir` starts a new one.)"},
    {"E0508", 3, "input changed since the run began",
     R"(A data file, the tokenizer or the base model is not the one that the run was started with.
Continuing would give a result that nobody could reproduce. Restore the file, or begin a new stage.)"},
    {"E0509", 2, "another build of the program",
     R"(The run was started by another build or on another device, whose results may differ in the last bit.
Set `resume_on_other_build: warn` to continue anyway; the change is then recorded.)"},
    {"E0510", 2, "nothing finished to start from",
     R"(`init_from` names a run that is not finished, or something that is neither a run, an adapter folder
nor a checkpoint. Resume that run first, or name one of its checkpoint files.)"},
    {"E0511", 2, "adapter does not fit the config",
     R"(The adapter differs from what the config trains: in rank, alpha, target modules, or the names or
shapes of tensors, or it is not plain LoRA. The message lists every difference. An adapter is loaded
completely or not at all.)"},
    {"E0512", 4, "writing failed",
     R"(The disk refused a write three times, each time with a new file. No half-written file has a final
name, and the last durable step is safe. Check the disk and the kernel's log, then resume. Of stdout:
what it was redirected to takes no more, and has a part of the output; give it space and run the
command again.)"},
    {"E0513", 4, "folder cannot be written to",
     R"(A folder that the program must write to is not writable, is not a folder, or is a link. Links are
not followed when writing, so that nobody can redirect the output: name the folder itself. Only
`output_dir` itself may be a link that you made, to a folder that exists.)"},
    {"E0514", 4, "file system without locks",
     R"(The file system of `output_dir` does not support locks, so two programs could write there at the
same time. Use a local disk.)"},
    {"E0515", 4, "written by a newer program",
     R"(The checkpoint has a format that this version of the program does not know. Use a program that is at
least as new as the one that wrote it.)"},
    {"E0516", 2, "the adapter that a stage begins from is another one",
     R"(A stage continues the adapter of the stage before it, or the one that `init_from` names. This stage
was trained from another adapter than the one that is there now, or the stage before it changed or is
not finished. Train the stages again from the first one that changed: the message shows the command.)"},
    {"E0517", 2, "finished adapter was changed",
     R"(A file in `adapter/` of a finished run is missing, or is not the one that the run wrote. Later stages
and exports would use something that nobody trained. Restore the file, or train the stage again.)"},
    {"E0518", 2, "checkpoint of another run",
     R"(A checkpoint in the folder was written by a run with another config or other data than `run.json`
describes. It was probably copied from elsewhere. Remove it, or use the config of its own run.)"},

    // Numeric.
    {"E0601", 6, "loss is not finite",
     R"(The loss of a training step or of held-out data became NaN or infinite. The message names the step, the
sample and, of a training step, the first value that was not finite. The step before it is safe. Lower the learning rate, or leave the
sample out with `skip_samples`. Where the NF4 kernel multiplied (`matmul`), a weight of more than about 60 times the
scale of its row can do it too; `matmul: cublaslt` has no such limit.)"},
    {"E0602", 6, "loss is above the threshold",
     R"(The loss was above `loss_watchdog_threshold` for as many steps in a row as `loss_watchdog_patience`
allows. The run has most likely diverged: lower the learning rate and start from an earlier
checkpoint.)"},
    {"E0603", 6, "a part of the adapter does not learn",
     R"(After two steps, a factor of a LoRA pair still has its initial value, so no gradient reaches it.
This should never happen. Please report it with `run.json`.)"},
    {"E0604", 6, "impossible update",
     R"(One optimizer step changed a value far more than the update rule allows. The optimizer's state is
damaged, by faulty memory or by a bug. Resume from the last checkpoint; if it happens at the same
step again, please report it.)"},
    {"E0605", 6, "gradient norm is not finite",
     R"(The norm of all gradients became NaN or infinite, so no update is possible. Causes and remedies are
those of E0601: lower the learning rate, or leave the sample out with `skip_samples`.)"},
    {"E0606", 6, "no token can be chosen",
     R"(The model gave a logit that is NaN or infinite, or none that is finite, so there is no distribution to
draw the next token from. Training went wrong before this adapter was saved, or a file is damaged. Take
an earlier checkpoint with `--step N`, or look at the losses of the run.)"},

    // Hardware.
    {"E0701", 5, "the GPU is gone",
     R"(The driver no longer responds for this GPU. Common causes are power, heat, a loose card or a driver
fault. Nothing read from the GPU after that is written; the last durable step is safe. Lower the
power limit, reseat the card and its cables, then resume.)"},
    {"E0702", 5, "memory of the GPU changed",
     R"(The checksum of weights that never change differs from before, or the GPU reported a memory error.
Results since the last successful check are not trusted. Test the card, then resume.)"},
    {"E0703", 5, "CUDA error",
     R"(A kernel or a library call ended with an error; the message names it with the shape of its launch.
Such an error may show at a later call: with SHORI_SYNC=1 in the environment the program waits after
each call, which is slower, and names the one that failed. If it happens again at the same step, it is
a bug: please report it. If it happens at different steps, suspect the card: heat, power, overclocking.)"},
    {"E0704", 1, "out of GPU memory after the plan",
     R"(The memory plan said that the run fits, but it ran out of GPU memory. The plan is wrong, which is a
bug in the program. Please report it with the table that is printed.)"},

    // Export.
    {"E0801", 4, "merge changed the wrong tensors",
     R"(After merging, the number of tensors that differ from the base is not the number that the adapter
targets. The adapter is empty or belongs to another model. The output is not given its final name.)"},
    {"E0802", 2, "output in a forbidden place",
     R"(The output would be inside the base model folder, its path is a link or a device, or `--force` would
move aside a folder that holds what is exported, the base, or the folder you are in. Exports never touch
what they read. Choose another folder.)"},
    {"E0803", 4, "exported model differs from what was trained",
     R"(The written weights and base plus adapter give different products with a random vector. Nothing has
the final name. Please report it.)"},
    {"E0804", 4, "re-reading the export failed",
     R"(Every exported file is read back and compared, and this one does not contain what was written: the
disk is faulty, or a value does not fit the chosen number format. Nothing has the final name.)"},
    {"E0805", 3, "merge needs the base used in training",
     R"(The adapter records the fingerprint of another base than the one given, or another tokenizer.model.
Merging them would give a model that nobody trained. Use the base that the adapter names.)"},
    {"E0806", 2, "target exists and is not empty",
     R"(An export never mixes its files with others. Choose another name, or replace the old export with
`--force`, which moves it aside.)"},
    {"E0807", 2, "a file with other content exists",
     R"(A command of shori-data writes new files and never overwrites one. A file with the same content stays
as it is, but here one has another content: perhaps it was edited since, or two sources have one name.
Choose another `--out`, or move the file away.)"},
};

constexpr ErrorInfo kWarnings[] = {
    {"W0101", 0, "a setting that cannot do what it says",
     R"(The numbers of the config do not fit the length of this run, which is known as soon as the data are
packed. The message has both numbers. Examples: a warm-up that is not shorter than the run, so that
the learning rate is never reached; `max_steps` beyond the end of `num_epochs`; `save_steps` or
`eval_steps` larger than the number of steps; more `gradient_accumulation_steps` than an epoch has
micro-batches. `max_steps` without `num_epochs` repeats epochs until the count, as in Axolotl. Or a key
has no effect beside the values of others, such as `eval_steps` without evaluation data, or names what
the data and the model do not have. With `warnings_as_errors: true` the run does not start. Of
`shori-chat --prompt-file`: the prompt is empty.)"},
    {"W0102", 0, "a secret that others can read",
     R"(The file of `--api-key-file` can be read by other users of this machine, who could then use the server
as you do. `chmod 600 FILE` keeps it to you.)"},
    {"W0201", 0, "total size differs",
     R"(`metadata.total_size` in the index differs from the sum of the tensors. Nothing uses that number,
and the tensors themselves were checked, so the model is used.)"},
    {"W0202", 0, "two sets of weights in one folder",
     R"(The model folder has `model.safetensors` and an index of other files. As transformers does, the program
uses `model.safetensors`. If the two differ, delete the one that is not wanted.)"},
    {"W0203", 0, "hundreds of rows without a piece",
     R"(The embedding has 512 or more rows more than tokenizer.model has pieces. Added tokens and padding are
rarely that many, so the tokenizer may be that of another model: Mistral 7B v0.3 has 32,768 rows, and
other pieces than the 32,000 of v0.1 and v0.2. Use the `tokenizer.model` that came with the weights.)"},
    {"W0301", 0, "near-duplicates inside the training data",
     R"(Some conversations are almost identical, or are branches of one chat: their first messages are the
same, three or more. The model sees what they share more often than the rest. Remove the copies, and keep
one branch of each chat, unless this is intended.)"},
    {"W0302", 0, "sample is close to sequence_len",
     R"(A sample is within 16 tokens of `sequence_len`. A small change to the text would make it too long.)"},
    {"W0303", 0, "evaluation data shares text with training data",
     R"(An evaluation conversation shares a fifth or more of its passages (8 words in a row) with training
data, or more than 1 % of a set's messages of 20 tokens or more also occur in the training data. The
evaluation loss then looks better than it is. Move the shared text to one side, or use other
conversations for evaluation.)"},
    {"W0304", 0, "lint rule",
     R"(A rule about style, order, privacy, lengths, speakers or leftovers of other programs found something in
a conversation; the message names the rule. The data is trained as it is. `shori-data check --fix` fixes what has one obvious fix. In
the config, `lint: {RULE: off}` silences a rule, and `error` makes it stop the training.)"},
    {"W0501", 0, "metrics.jsonl is shorter than recorded",
     R"(The checkpoint records more of `metrics.jsonl` than the file now contains. The missing lines are
lost; training is not affected.)"},
    {"W0503", 0, "adapter without provenance",
     R"(The adapter does not record which base it was trained on, as adapters made by other programs do not.
Names and shapes were checked; make sure yourself that the base is the right one.)"},
    {"W0601", 0, "loss or gradient spike",
     R"(The loss or the gradient norm is far above that of the steps before. A single spike is often a rare
sample; many mean that the learning rate is too high.)"},
    {"W0602", 0, "large update",
     R"(A parameter changed more than is usual in one step. Watch the loss; if it rises, lower the learning
rate.)"},
    {"W0603", 0, "nothing was learnt",
     R"(The stage ran to its end, but no update changed a weight of the adapter: the rate or every gradient was
0. The adapter is what it was at the start. Usual causes: a warm-up as long as the run, or data without
targets. `metrics.jsonl` has `learning_rate`, `grad_norm` and `update_max` of each step.)"},
    {"W0801", 0, "an exported tokenizer may give other ids",
     R"(Programs that read `tokenizer.json` would not get the ids of training for the same text, or the base's
`tokenizer.model` is none that BlockML can be written with. Where the base has a `tokenizer.model`, its
`tokenizer.json` can be made from it: export from a copy of the base folder without `tokenizer.json`.)"},
};

}  // namespace

std::span<const ErrorInfo> run_error_texts() { return kRunTexts; }

std::span<const ErrorInfo> warning_texts() { return kWarnings; }

}  // namespace shori
