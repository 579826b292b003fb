"""Tokenizer files that are damaged, hostile or of another model."""
import os
import shutil
import struct

from shori_programs import TOKENIZER, in_parallel, must, refused, train
from small_jobs import Job, copy_folder


def varint(value):
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text, kind, score=0.0):
    data = text if isinstance(text, bytes) else text.encode()
    return field(1, field(1, data) + varint(2 << 3 | 5) + struct.pack("<f", score) + field(3, kind))


def tokenizer(pieces=None, trainer=b"", normalizer=b"", model_type=2):
    """A whole model file of 512 pieces that suits BlockML, unless the caller says otherwise."""
    if pieces is None:
        pieces = [piece("<unk>", 2), piece("<s>", 3), piece("</s>", 3)]
        pieces += [piece(f"<0x{byte:02X}>", 6) for byte in range(256)]
        texts = ["▁", "▀", "▄"] + [f"p{number}" for number in range(512 - 259 - 3)]
        pieces += [piece(text, 1, -number) for number, text in enumerate(texts)]
    spec = field(3, model_type) + field(35, 1) + trainer
    return b"".join(pieces) + field(2, spec) + field(3, field(3, 1) + field(4, 0) + field(5, 1) + normalizer)


def pieces_of(data):
    """The pieces of tokenizer() as a list, to change some."""
    out, position = [], 0
    while data[position] == 0x0A:
        length = data[position + 1]
        out.append(data[position:position + 2 + length])
        position += 2 + length
    return out


def with_piece(index, new):
    pieces = pieces_of(tokenizer())
    pieces[index] = new
    return tokenizer(pieces)


def longer_mark():
    return with_piece(400, piece("▀x", 1, -1))


NUL_PIECE = bytes.fromhex("0a0e0a053c756e6b3e150000000018020a0c0a033c733e150000000018030a0d0a043c2f733e150000000018030a"
                          "080a010015000080bf120218011a00")
CHARSMAP = struct.pack("<I", 1024) + b"\xff\xff\xff\xff" * 256 + b"x\0"
TOKENIZERS = {
    "a NUL piece": (NUL_PIECE, "E0211"),
    "a crafted table of characters": (tokenizer(normalizer=field(2, CHARSMAP)), "E0211"),
    "rules of characters": (tokenizer(normalizer=field(6, b"a\tb")), "E0211"),
    "a second normalizer": (tokenizer() + field(3, field(2, CHARSMAP)), "E0211"),
    "a second trainer": (tokenizer() + field(2, field(3, 2)), "E0211"),
    "a denormalizer": (tokenizer() + field(5, field(2, b"x")), "E0211"),
    "unigram": (tokenizer(model_type=1), "E0211"),
    "unknown model type": (tokenizer(model_type=77), "E0211"),
    "cut off": (tokenizer()[:-3], "E0211"),
    "a length beyond the end": (tokenizer() + b"\x0a\x7f", "E0211"),
    "an endless varint": (tokenizer() + b"\x08" + b"\xff" * 11, "E0211"),
    "a group": (tokenizer() + b"\x0b\x0c", "E0211"),
    "empty": (b"", "E0203"),
    "a piece twice": (with_piece(400, piece("p3", 1)), "E0211"),
    "an empty piece": (with_piece(400, piece("", 1)), "E0211"),
    "a piece of 300 bytes": (with_piece(400, piece("x" * 300, 1)), "E0211"),
    "a piece that is not UTF-8": (with_piece(400, piece(b"\xff", 1)), "E0211"),
    "a score that is not a number": (with_piece(400, piece("q", 1, float("nan"))), "E0211"),
    "an unknown type": (with_piece(400, piece("q", 9)), "E0211"),
    "no unknown piece": (with_piece(0, piece("<unk>", 1)), "E0211"),
    "two unknown pieces": (with_piece(400, piece("q", 2)), "E0211"),
    "no begin piece": (with_piece(1, piece("<bos>", 3)), "E0211"),
    "a byte missing": (with_piece(3, piece("q", 1)), "E0211"),
    "a byte in lower case": (with_piece(3 + 0xAB, piece("<0xab>", 6)), "E0211"),
    "one piece too many": (tokenizer(pieces_of(tokenizer()) + [piece("q", 1)]), "E0205"),
    "no opening mark": (with_piece(260, piece("q", 1)), "E0206"),
    "a mark inside another piece": (longer_mark(), "E0206"),
    "a piece with a newline": (with_piece(400, piece("a\nb", 1)), "E0206"),
    "no space": (with_piece(259, piece("q", 1)), "E0206"),
    "spaces removed": (tokenizer(normalizer=field(4, 1)), "E0206"),
    "larger than 8 MiB": (tokenizer() + field(4, b"x" * (8 << 20)), "E0211"),
}


def text_job(folder, model):
    (folder / "job").mkdir(parents=True)
    (folder / "job/a.blockml").write_text("▀message\nA: hello▄\n")
    return Job(folder / "job", model, datasets=[{"path": "a.blockml", "type": "blockml"}])


def test_tokenizers(tmp_path, token_model):
    good = copy_folder(token_model, tmp_path / "good/model")
    (good / "tokenizer.model").write_bytes(tokenizer())
    must(train(text_job(tmp_path / "good", good).config, "--check"))

    def work(name):
        content, code = TOKENIZERS[name]
        folder = tmp_path / name.replace(" ", "-")
        model = copy_folder(token_model, folder / "model")
        (model / "tokenizer.model").write_bytes(content)
        (problem,) = refused(text_job(folder, model), code)
        assert problem["file"] == str(model / "tokenizer.model") or problem["file"] == "", (name, problem)

    in_parallel(work, TOKENIZERS)


def test_tokenizer_of_another_model_or_missing(tmp_path, token_model):
    model = copy_folder(token_model, tmp_path / "model")
    shutil.copyfile(TOKENIZER, model / "tokenizer.model")
    (problem,) = refused(text_job(tmp_path / "a", model), "E0205")
    assert "32000 pieces" in problem["message"] and "512 rows" in problem["message"]
    (model / "tokenizer.model").unlink()
    refused(text_job(tmp_path / "b", model), "E0203")
    os.mkfifo(model / "tokenizer.model")
    refused(text_job(tmp_path / "c", model), "E0212")
