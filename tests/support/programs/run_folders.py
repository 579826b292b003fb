"""Reads run folders and checkpoints by the written format, independently of the programs."""
import hashlib
import json
import re
import struct

STEP_NAME = re.compile(r"step-(\d{6,12})\.safetensors")
DTYPE_BYTES = {"F32": 4, "U8": 1}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def file_sha256(path):
    return sha256(path.read_bytes())


def flip(path, offset):
    """Changes one bit of a file, in a new file under its name: the old one may be linked elsewhere."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.unlink()
    path.write_bytes(data)


class Checkpoint:
    """A verified checkpoint file: every bit of it is covered by a check."""

    def __init__(self, path):
        self.path, data = path, path.read_bytes()
        self.bytes = data
        (length,) = struct.unpack_from("<Q", data)
        assert length % 8 == 0 and data[8:9] == b"{", path
        header = json.loads(data[8:8 + length])
        assert header.pop("__metadata__") == {"format": "pt", "shori": "checkpoint-1"}
        begin = 8 + length
        self.tensors, self.shapes, self.dtypes, position = {}, {}, {}, 0
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            count = DTYPE_BYTES[entry["dtype"]]
            for size in entry["shape"]:
                count *= size
            assert first == position and last - first == count, f"{path}: {name}"
            self.tensors[name] = data[begin + first:begin + last]
            self.shapes[name], self.dtypes[name], position = entry["shape"], entry["dtype"], last
        assert begin + position == len(data), f"{path}: bytes after the last tensor"
        names = list(self.tensors)
        assert names[-2:] == ["shori.manifest", "shori.seal"]
        kinds = [self.dtypes[name] for name in names]
        assert kinds == sorted(kinds), f"{path}: F32 before U8"
        self._check(data[:begin], len(data))

    def _check(self, head, size):
        manifest, seal = self.tensors.pop("shori.manifest"), self.tensors.pop("shori.seal")
        magic, seal_size, step, digest, version = struct.unpack("<8sQQ32sQ", seal)
        assert magic == b"SHORICKP" and version == 1 and seal_size == size, self.path
        assert digest == hashlib.sha256(head + manifest).digest(), f"{self.path}: seal"
        assert len(manifest) % 8 == 0 and manifest.endswith(b" "), self.path
        text = manifest.decode().rstrip(" ")
        self.manifest = json.loads(text)
        canonical = json.dumps(self.manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert text == canonical, f"{self.path}: the manifest is not canonical"
        assert self.manifest["step"] == step == int(STEP_NAME.fullmatch(self.path.name)[1])
        assert self.manifest["tensors"] == {name: sha256(value) for name, value in self.tensors.items()}
        self.step = step


def checkpoints(run):
    """step -> path of the rolling checkpoints."""
    folder = run / "checkpoints"
    found = (STEP_NAME.fullmatch(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    return {int(name[1]): folder / name[0] for name in sorted(filter(None, found), key=lambda match: int(match[1]))}


def kept_checkpoints(run):
    """Epoch ends and the best evaluation, and what SIGUSR1 asked for."""
    return [path for folder in ("pinned", "requested") for path in sorted((run / "checkpoints" / folder).glob("*"))]


def pinned_steps(run):
    return [int(STEP_NAME.fullmatch(path.name)[1]) for path in sorted((run / "checkpoints/pinned").iterdir())]


def newest_checkpoint(run):
    return Checkpoint(list(checkpoints(run).values())[-1])


def metrics(run, kind=None):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if kind is None or line["type"] == kind]


def final_state(run):
    """What two equal runs must agree on: path -> SHA-256. Checkpoints: the newest two and those kept beside."""
    assert (run / "done.json").is_file(), f"{run} is not finished"
    done = json.loads((run / "done.json").read_text())
    paths = [run / "metrics.jsonl", run / "pack_plan.bin", run / "data_report.json", *(run / "adapter").iterdir()]
    paths += list(checkpoints(run).values())[-2:] + kept_checkpoints(run)
    state = {str(path.relative_to(run)): file_sha256(path) for path in paths}
    for name, digest in done["adapter"].items():
        assert state[f"adapter/{name}"] == digest, f"done.json disagrees about {name}"
    assert state["adapter/adapter_model.safetensors"] == metrics(run)[-1]["adapter_sha256"]
    return state


def tensor_state(run):
    """As final_state(), but of the checkpoints only the tensors: a stop in an evaluation saves before its lines."""
    state = {name: value for name, value in final_state(run).items() if not name.startswith("checkpoints/")}
    for path in list(checkpoints(run).values())[-2:]:
        state[path.name] = Checkpoint(path).manifest["tensors"]
    return state


def adapter_values(run):
    """The values of the finished adapter, without its header, whose metadata names the config."""
    content = (run / "adapter/adapter_model.safetensors").read_bytes()
    return content[8 + int.from_bytes(content[:8], "little"):]


def check_nothing_half_written(run):
    """Every file with a final name is complete. Temporary names begin with a dot."""
    for path in [*checkpoints(run).values(), *kept_checkpoints(run)]:
        Checkpoint(path)
    for name in ("run.json", "data_report.json", "done.json"):
        if (run / name).exists():
            json.loads((run / name).read_text())
    adapter = run / "adapter"
    if adapter.exists():
        names = {path.name for path in adapter.iterdir()}
        assert {"adapter_model.safetensors", "adapter_config.json"} <= names, names
        json.loads((adapter / "adapter_config.json").read_text())
        read_safetensors(adapter / "adapter_model.safetensors")


def read_safetensors(path):
    """(metadata, {name: (dtype, shape, bytes)}) of a file without holes."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header, position, tensors = json.loads(data[8:8 + length]), 8 + length, {}
    metadata = header.pop("__metadata__", {})
    for name, entry in header.items():
        first, last = (8 + length + offset for offset in entry["data_offsets"])
        assert first == position, f"{path}: hole before {name}"
        tensors[name], position = (entry["dtype"], entry["shape"], data[first:last]), last
    assert position == len(data), f"{path}: {len(data)} bytes, the header names {position}"
    return metadata, tensors


def snapshot(folder):
    """Every path below `folder` with type, size and content hash: to see that nothing was touched."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file" if path.is_file() else "other"
        found[str(path.relative_to(folder))] = (kind, file_sha256(path) if kind == "file" else "")
    return found
