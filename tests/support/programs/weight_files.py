"""Changes to the weights of a model folder."""
import json
import struct

from run_folders import read_safetensors
from small_jobs import replace_file


def rewrite(path, change):
    """Rewrites a safetensors file after change(tensors) has edited {name: (dtype, shape, bytes)}."""
    metadata, tensors = read_safetensors(path)
    change(tensors)
    header, position = {"__metadata__": metadata}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + len(data)]}
        position += len(data)
    text = json.dumps(header).encode()
    replace_file(path, struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values()))


def fill(path, bits, *names):
    """Sets all elements of these bf16 tensors."""
    def change(tensors):
        for name in names:
            dtype, shape, data = tensors[name]
            tensors[name] = (dtype, shape, struct.pack("<H", bits) * (len(data) // 2))

    rewrite(path, change)
