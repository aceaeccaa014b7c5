"""A command's products come into their folder whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.files.products import ProductsNotWrittenError, products_folder


def test_files_come_into_the_folder_when_all_are_written(tmp_path: Path) -> None:
    out = tmp_path / "some" / "where"
    with products_folder(out) as folder:
        (folder / "a").write_text("new")
        (folder / "b").write_text("b")
        assert not (out / "a").exists()
    assert {file.name: file.read_text() for file in out.iterdir()} == {"a": "new", "b": "b"}


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_command_leaves_what_was_there(tmp_path: Path, interruption: type[BaseException]) -> None:
    (tmp_path / "a").write_text("old")

    def interrupted() -> None:
        with products_folder(tmp_path) as folder:
            (folder / "a").write_text("half")
            raise interruption

    with pytest.raises(interruption):
        interrupted()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a": "old"}


def test_a_full_disk_and_a_folder_that_is_none_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProductsNotWrittenError, match=r"^Nothing can be written to .*file/out: Not a directory\.$"):
        products_folder(tmp_path / "file" / "out").__enter__()

    def full() -> None:
        with products_folder(tmp_path / "out"):
            raise OSError(28, "No space left on device")

    with pytest.raises(ProductsNotWrittenError, match=r"No space left on device\.$"):
        full()
    assert list((tmp_path / "out").iterdir()) == []
