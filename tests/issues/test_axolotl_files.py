"""Published Axolotl configs: each text below has the keys of files that people bring (examples/mistral/qlora.yml and its copies of 2023 to
2025), in own words. Only paths and data sets differ from theirs. What changes results stays an error with the nearest thing."""
import pytest

from shori_programs import must, train
from small_jobs import scenes

HEAD = """
base_model: {model}
datasets:
  - path: data
    type: blockml
dataset_prepared_path: last_run_prepared
output_dir: ./qlora-out
adapter: qlora
load_in_8bit: false
load_in_4bit: true
learning_rate: 0.0002
train_on_inputs: false
excess_length_strategy: split
sequence_len: 512
device: cpu
"""

FILES = {
    "early 2023": """
base_model_config: {model}
model_type: MistralForCausalLM
tokenizer_type: LlamaTokenizer
is_mistral_derived_model: true
strict: false
val_set_size: 0.1
lora_model_dir:
sample_packing: true
pad_to_sequence_len: true
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_modules:
lora_target_linear: true
lora_fan_in_fan_out:
wandb_project: my-mistral
wandb_entity:
wandb_watch:
wandb_run_id:
wandb_log_model: checkpoint
micro_batch_size: 1
num_epochs: 2
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
group_by_length: false
bf16: true
fp16: false
tf32: false
gradient_checkpointing: true
early_stopping_patience:
resume_from_checkpoint:
local_rank:
logging_steps: 1
xformers_attention:
flash_attention: true
warmup_steps: 2
eval_steps: 0.05
eval_table_size: 5
eval_table_max_new_tokens: 128
save_steps:
debug:
deepspeed:
weight_decay: 0.0
fsdp:
fsdp_config:
special_tokens:
  bos_token: "<s>"
  eos_token: "</s>"
  unk_token: "<unk>"
""",
    "2024": """
model_type: MistralForCausalLM
tokenizer_type: LlamaTokenizer
val_set_size: 0.1
sample_packing: true
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_linear: true
num_epochs: 1
max_steps: -1
optimizer: paged_adamw_8bit
lr_scheduler: cosine
bf16: auto
fp16:
tf32: false
gradient_checkpointing: true
gradient_checkpointing_kwargs: {{use_reentrant: true}}
flash_attention: true
warmup_steps: 2
evals_per_epoch: 4
eval_max_new_tokens: 128
saves_per_epoch: 1
hub_model_id: me/mistral-tune
hub_strategy: every_save
hf_use_auth_token: true
special_tokens:
""",
    "2025": """
model_type: AutoModelForCausalLM
tokenizer_type: AutoTokenizer
val_set_size: 0.0
sample_packing: true
eval_sample_packing: false
lora_r: 16
lora_alpha: 32
lora_target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]
num_epochs: 2.0
optimizer: adamw_8bit
lr_scheduler: linear
bf16: auto
tf32: true
attn_implementation: flash_attention_2
gradient_checkpointing: offload
warmup_ratio: 0.1
saves_per_epoch: 1
save_strategy: steps
load_best_model_at_end: false
neftune_noise_alpha: 0
noisy_embedding_alpha: 0
use_tensorboard: true
mlflow_tracking_uri: http://localhost
report_to: none
dataset_processes: 8
dataloader_num_workers: 4
trust_remote_code: true
special_tokens: {{pad_token: "</s>"}}
""",
}


@pytest.fixture
def folder(tmp_path):
    scenes(tmp_path / "data", 30, 5)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_axolotl_yaml_fixes(folder, text_model, name):
    config = folder / "qlora.yml"
    config.write_text((HEAD + FILES[name]).format(model=text_model), encoding="utf-8")
    outcome = must(train(config, "--check", "--verbose"))
    assert outcome.errors == []
    accepted = [line for line in outcome.err.splitlines() if "accepted" in line and "model_type" in line]
    assert len([line for line in accepted if not line.startswith("#")]) == 1, "listed once"
    assert [line for line in accepted if line.startswith("#")], "shown in the resolved config"


def test_an_accepted_file_trains(folder, text_model):
    config = folder / "qlora.yml"
    config.write_text((HEAD + FILES["2024"]).format(model=text_model), encoding="utf-8")
    must(train(config, "--set", "evals_per_epoch="))
    assert (folder / "qlora-out/done.json").exists()


@pytest.mark.parametrize("line, fix", [
    ("optimizer: paged_adamw_32bit", "optimizer: adamw_bnb_8bit"), ("optimizer: adamw_torch", "optimizer: adamw_bnb_8bit"),
    ("bf16: full", "bf16: true"), ("lr_scheduler: constant_with_warmup", "lr_scheduler: constant"),
    ("num_epochs: 1.5", "num_epochs: 2"), ("max_grad_norm: 0.0", "max_grad_norm: 1e9"),
    ("special_tokens: {bos_token: '<|im_start|>'}", ""), ("neftune_noise_alpha: 5", ""), ("rl: dpo", ""),
    ("deepspeed: deepspeed/zero2.json", ""), ("peft_use_dora: true", ""), ("early_stopping_patience: 3", ""),
    ("load_best_model_at_end: true", ""), ("model_type: LlamaForCausalLM", ""),
])
def test_what_changes_results_is_refused_with_a_fix(folder, text_model, line, fix):
    head = HEAD.format(model=text_model)
    config = folder / "qlora.yml"
    config.write_text(head + line + "\n", encoding="utf-8")
    (problem,) = must(train(config, "--check", "--json-errors"), 2).diagnostics
    assert problem["line"] == len(head.splitlines()) + 1, problem
    assert "`a mapping`" not in problem["message"]
    (text,) = problem["help"]
    assert (fix in text) if fix else text.startswith("delete the line") or text.startswith("use "), text
    config.write_text(head + fix + "\n", encoding="utf-8")
    must(train(config, "--check"))


@pytest.mark.parametrize("kind, command", [
    ("sharegpt", "shori-data import data/talks.jsonl --from sharegpt --out data/imported"),
    ("chat_template", "shori-data import data/talks.jsonl --from messages --out data/imported"),
])
def test_types_of_data_name_their_import(folder, text_model, kind, command):
    config = folder / "qlora.yml"
    config.write_text(HEAD.format(model=text_model).replace("path: data\n", "path: data/talks.jsonl\n").replace("blockml", kind))
    assert command in must(train(config.name, "--check", cwd=folder), 2).err


def outcome_of(folder, text_model, old, new):
    """`--check` of a good file with one change."""
    text = (HEAD + FILES["2024"]).format(model=text_model)
    assert old in text
    (folder / "x.yml").write_text(text.replace(old, new))
    return train(folder / "x.yml", "--check")


@pytest.mark.parametrize("path, words", [
    ("org/dataset", ["hf download org/dataset --repo-type dataset --local-dir", "are not fetched"]),
    ("https://example.org/a/b.jsonl", ["curl -L --create-dirs -o downloads/b.jsonl https://example.org/a/b.jsonl"]),
    ("s3://bucket/set", ["aws s3 cp --recursive s3://bucket/set downloads/set"]),
    ("gs://bucket/set", ["gcloud storage cp -r gs://bucket/set downloads/set"]),
    ("hf://datasets/org/set", ["hf download org/set --repo-type dataset --local-dir downloads/set"]),
    ("file:///srv/none", ["write `path: /srv/none`"]),
    ("data/none", ["write the path relative to the config file"]),
    ("nodata/none.jsonl", ["write the path relative to the config file"]),
])
def test_data_that_lie_elsewhere(folder, text_model, path, words):
    outcome = must(outcome_of(folder, text_model, "path: data", f"path: {path}"), 3)
    assert outcome.errors == ["E0315"] and all(each in outcome.err for each in words), repr(outcome)


def test_a_hub_data_set_of_another_type_is_downloaded_before_its_import(folder, text_model):
    outcome = outcome_of(folder, text_model, "path: data\n    type: blockml", "path: org/dataset\n    type: sharegpt")
    assert outcome.errors == ["E0104"] and "`hf download org/dataset --repo-type dataset --local-dir downloads/dataset`" in outcome.err
    assert "shori-data import downloads/dataset --from sharegpt" in outcome.err


@pytest.mark.parametrize("old", ["path: data", "base_model: {model}"])
def test_an_unset_variable_is_one_error(folder, text_model, old):
    old = old.format(model=text_model)
    outcome = outcome_of(folder, text_model, old, old.split(":")[0] + ": $SHORI_TEST_NOPE/x")
    assert outcome.errors == ["E0118"], repr(outcome)


@pytest.mark.parametrize("value", ["all-linear", "q_proj"])
def test_target_modules_as_a_text(folder, text_model, value):
    outcome = outcome_of(folder, text_model, "lora_target_linear: true", f"lora_target_modules: {value}")
    assert "E0104" in outcome.errors and "write `lora_target_linear: true`" in outcome.err


def test_set_without_a_value(folder, text_model):
    outcome_of(folder, text_model, "path: data", "path: data")
    outcome = train(folder / "x.yml", "--check", "--set", "lora_r")
    assert outcome.errors == ["E0113"] and "`--set lora_r=VALUE`" in outcome.err
