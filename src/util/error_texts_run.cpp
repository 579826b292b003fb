// Errors of a run and of exports, and the warnings.
#include "src/util/error_texts.h"

namespace shori {
namespace {

constexpr ErrorInfo kTexts[] = {
    // Device and plan.
    {"E0401", 5, "the plan does not fit into the memory",
     "Before anything is loaded, the memory that the run will need is added up by category; the sum is larger than "
     "what is free. The message shows the table and what a smaller `sequence_len` or another key would reach. The same "
     "is told when a trial pass before step 1 runs out of memory: then another program has taken some since, or the "
     "plan is wrong."},
    {"E0402", 5, "program was built for another GPU",
     "The program holds machine code for other GPU architectures than the one found. Configure the build with the "
     "architecture "
     "that the message names."},
    {"E0403", 5, "driver is too old",
     "The GPU driver is older than the CUDA version that the program was built with. Update the driver."},
    {"E0404", 5, "no usable GPU",
     "The config asks for a GPU, but none can be used: none is there, the driver is not loaded or does not start, this "
     "user may not open the GPU's devices, another process holds it exclusively, or this program was built without "
     "CUDA. There is never a silent fall-back to the CPU: write "
     "`device: cpu` "
     "for it, which is meant for tiny models."},
    {"E0405", 5, "GPU memory was taken by another process",
     "Between the plan and the start another process took memory of the GPU that the plan counted on. Stop that "
     "process, or "
     "lower what the run needs."},
    {"E0406", 5, "the model's shape does not suit a GPU",
     "Kernels read rows in pieces of 16 bytes and keep one row of a matrix on the chip, so that sizes have to be "
     "multiples of 8 "
     "and not too large. Published Mistral models are; a model that is not runs with `device: cpu`."},
    {"E0407", 5, "CUDA libraries do not fit",
     "The GPU is driven through libtorch and the NVIDIA libraries that come with it, and what was found is not what "
     "the "
     "program was built with: another release of libtorch, a library that is missing, or two copies of one. Install "
     "the one "
     "release that the message names, with all its NVIDIA packages."},

    // Run folder.
    {"E0501", 7, "run folder is in use",
     "Another program holds the lock of `output_dir`; the message says which. Two programs in one folder would mix "
     "their "
     "checkpoints. The lock ends with its program by itself, also after a crash. Stop the other one, or choose another "
     "folder."},
    {"E0502", 4, "no room on the disk",
     "The disk has no room for the next checkpoint. The run pauses and goes on by itself as soon as there is room; the "
     "last "
     "durable step is safe. Ctrl-C ends it, and `--resume` goes on later."},
    {"E0503", 0, "damaged checkpoint is skipped",
     "A checkpoint does not agree with its own checksums, so the one before it is used and the steps between are "
     "repeated with "
     "the same result. The damaged file is kept under `checkpoints/damaged`. Check the disk and the memory of the "
     "machine."},
    {"E0504", 2, "config changed since the checkpoint",
     "`--resume` goes on with exactly the run that was begun, so keys that would change its result must be as they "
     "were. The "
     "message lists each difference. Restore the lines, or begin a new stage with `init_from`."},
    {"E0505", 3, "adapter was trained on another base",
     "The adapter carries the fingerprint of the weights it was trained on, and the base model has another. An adapter "
     "is only "
     "meaningful on its own base. Use the base it names."},
    {"E0506", 4, "no usable checkpoint",
     "The run folder has no checkpoint that can be used, or one of its files cannot be read; the message gives the "
     "reason for "
     "each. Restore the folder from a copy, or start anew in an empty one."},
    {"E0507", 2, "folder already holds a run",
     "`output_dir` holds a run, and neither is it continued nor overwritten without your word. `--resume` goes on with "
     "it; "
     "another `output_dir` begins a new one."},
    {"E0508", 3, "input changed since the run began",
     "A data file, the tokenizer or the base model is not the one that the run was begun with. Going on would give a "
     "result "
     "that nothing could repeat. Restore the file, or begin a new stage."},
    {"E0509", 2, "another build of the program",
     "The run was begun by another build or on another device, whose arithmetic may differ in the last bit. "
     "`resume_on_other_build: warn` goes on all the same and records it."},
    {"E0510", 2, "nothing finished to start from",
     "`init_from` leads to a run that is not finished, or to something that is neither a run, an adapter folder nor a "
     "checkpoint. Resume that run first, or name one checkpoint file."},
    {"E0511", 2, "adapter does not fit the config",
     "The adapter differs from what the config trains: rank, alpha, target modules, names or shapes of tensors, or a "
     "kind "
     "that is not plain LoRA. Every difference is listed. An adapter is loaded completely or not at all."},
    {"E0512", 4, "writing failed",
     "The disk refused a write three times, each with a new file. Nothing half-written stands under a final name, and "
     "the last "
     "durable step is safe. Check the disk and the kernel's log, then resume."},
    {"E0513", 4, "folder cannot be written to",
     "A folder that the program has to write in is not writable, is no folder, or is a link. Links are not followed "
     "for "
     "writing, so that nobody can redirect the output; name the folder itself."},
    {"E0514", 4, "file system without locks",
     "The file system of `output_dir` gives no locks, so two programs could write there at once. Use a local disk."},
    {"E0515", 4, "written by a newer program",
     "The checkpoint has a format that this program does not know yet. Use a program at least as new as the one that "
     "wrote it."},

    // Numeric.
    {"E0601", 6, "loss is not finite",
     "The loss became NaN or infinite. The message names the step, the first value that was not finite and the sample; "
     "the "
     "step before is safe. Lower the learning rate, or leave the sample out with `skip_samples`."},
    {"E0602", 6, "loss is above the threshold",
     "The loss stayed above `loss_watchdog_threshold` for as many steps as `loss_watchdog_patience` allows. The run "
     "has most "
     "likely diverged: lower the learning rate and start from an earlier checkpoint."},
    {"E0603", 6, "a part of the adapter does not learn",
     "After two steps the second factor of a LoRA pair is still exactly zero, which means that no gradient reaches it. "
     "This "
     "should never happen; report it."},
    {"E0604", 6, "impossible update",
     "One optimizer step changed a value by far more than its rule allows. The state of the optimizer is damaged, in "
     "memory or "
     "by a bug. Resume from the last checkpoint; if it repeats at the same step, report it."},
    {"E0605", 6, "gradient norm is not finite",
     "The norm of all gradients became NaN or infinite, so that no update can be made. The cause and cures are those "
     "of E0601."},

    // Hardware.
    {"E0701", 5, "the GPU is gone",
     "The driver no longer answers for the GPU: power, heat, a loose card, or a driver fault. Nothing taken from the "
     "GPU after "
     "that is written; the last durable step is safe. Lower the power limit, reseat card and cables, then resume."},
    {"E0702", 5, "memory of the GPU changed",
     "Weights that never change have another checksum than before, or the GPU reported a memory error. Results since "
     "the last "
     "good check are not trusted. Test the card, then resume."},
    {"E0703", 5, "CUDA error",
     "A kernel ended with an error. If it repeats at the same step, it is a bug: report it. If it moves about, suspect "
     "the "
     "card: heat, power, overclocking."},
    {"E0704", 1, "out of GPU memory after the plan",
     "The memory plan said that the run fits, and it did not. The plan is wrong: that is a bug of ours. Report the "
     "table that "
     "is printed."},
    {"E0705", 5, "the GPU does not answer",
     "The GPU has not finished a piece of work for ten minutes. The last durable step is safe. Look at the kernel's "
     "log; a "
     "restart of the machine may be needed."},

    // Export.
    {"E0801", 4, "merge changed the wrong tensors",
     "After merging, the number of tensors that differ from the base is not what the adapter's targets say. The "
     "adapter is "
     "empty or belongs to another model. The output is not given its final name."},
    {"E0802", 2, "output in a forbidden place",
     "The output would lie inside the base model folder or behind a link. Exports never touch the base. Choose another "
     "folder."},
    {"E0803", 4, "exported model differs from what was trained",
     "Base plus adapter and the exported model give different results on probe prompts. The file is left under the "
     "name "
     "`*.rejected`. Report it."},
    {"E0804", 4, "re-reading the export failed",
     "Each exported file is read back and compared, and this one does not hold what was written: the disk is faulty, "
     "or a value "
     "does not fit the chosen number format. Nothing stands under the final name."},
    {"E0805", 3, "merge needs the base used in training",
     "The adapter carries the fingerprint of another base than the one given. Merging it would give a model that "
     "nobody "
     "trained. Give the base that the adapter names."},
    {"E0806", 2, "target exists and is not empty",
     "An export never mixes its files with others. Choose another name, or remove the old export with `--force`."},
};

constexpr ErrorInfo kWarnings[] = {
    {"W0201", 0, "total size differs",
     "`metadata.total_size` of the index differs from the sum of the tensors. Nothing uses that figure, and the "
     "tensors "
     "themselves were checked, so the model is used."},
    {"W0301", 0, "near-duplicates inside the training data",
     "Some conversations are almost the same. The model will see them more often than the others."},
    {"W0302", 0, "sample is close to sequence_len",
     "A sample is within 16 tokens of `sequence_len`. A small change of the text would make it too long."},
    {"W0303", 0, "evaluation data shares text with training data",
     "An evaluation conversation shares a fifth or more of its passages (8 words in a row) with training data, or more "
     "than 1 % of a set's messages of 20 tokens or more are messages of training data as well. The evaluation loss then "
     "looks better than it is. Move the shared text to one side, or take other conversations for evaluation."},
    {"W0304", 0, "lint rule",
     "A rule about style, order, privacy or lengths found something in a conversation; the message names the rule. The "
     "data is trained as it is. `shori-data check --fix` mends what has one obvious cure; `lint: {RULE: off}` in the "
     "config silences a rule, `error` makes it stop the training."},
    {"W0501", 0, "metrics.jsonl is shorter than recorded",
     "The checkpoint remembers more of `metrics.jsonl` than is there. The missing lines are lost; training is not "
     "affected."},
    {"W0502", 0, "checkpoint took longer than a step",
     "Writing a checkpoint took longer than an optimizer step, so the disk slows the training down. Use a faster disk "
     "for "
     "`output_dir`, or save less often."},
    {"W0503", 0, "adapter without provenance",
     "The adapter does not say which base it was trained on, as adapters of other programs do not. Names and shapes "
     "were "
     "checked; that the base is the right one is up to you."},
    {"W0601", 0, "loss or gradient spike",
     "Loss or gradient norm is far above that of the steps before. One spike is often a rare sample; many mean that "
     "the "
     "learning rate is too high."},
    {"W0602", 0, "large update",
     "A parameter changed by more than is usual in one step. Watch the loss; if it rises, lower the learning rate."},
    {"W0701", 0, "slow micro-batch",
     "A micro-batch took far longer than the median. The GPU may be throttled by heat or power, or another program "
     "uses it."},
};

}  // namespace

std::span<const ErrorInfo> run_error_texts() { return kTexts; }

std::span<const ErrorInfo> warning_texts() { return kWarnings; }

}  // namespace shori
