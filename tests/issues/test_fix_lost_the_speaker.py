"""`check --fix` turned `Wenna: ?!` into `Wenna:?!`: the space that ends the speaker was taken for one before punctuation, and the message
became narration. Met with messages that begin with punctuation or with a picture, as SillyTavern chats have them."""
import pytest

from shori_programs import BIN, must, run


@pytest.mark.parametrize("message", ["Wenna: ?!", "Tam: ! I knew.", "Wenna: ![](https://example.org/a.png)", "Tam: … no", "Wenna: , then"])
def test_speaker_stays(tmp_path, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text(f"▀message\n{message}▄\n▀message\nBo: yes !▄\n")
    must(run(BIN / "shori-data", "check", tmp_path / "in", "--fix", "--out", tmp_path / "out"))
    fixed = (tmp_path / "out" / "a.txt").read_text()
    assert fixed.startswith("▀message\n" + message.split(" ")[0] + " "), fixed
    assert "Bo: yes!" in fixed, "the fix itself still works"
