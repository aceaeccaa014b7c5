"""What a command writes comes into its folder whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import PermanentFailure

__all__ = ["ProductsNotWrittenError", "products_folder"]


class ProductsNotWrittenError(PermanentFailure):
    """The folder for products cannot be made or written, or its disk is full."""

    code = "products_not_written"


@contextmanager
def products_folder(out_dir: Path) -> Iterator[Path]:
    """Give a hidden folder to write into; when all is written its files go into ``out_dir``, which is made when it is not there.

    A command that is interrupted, or fails, leaves what was in ``out_dir`` as it was.

    Raises
    ------
    ProductsNotWrittenError
        When the system refuses to write.
    """
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out_dir) as name:
            folder = Path(name)
            yield folder
            for file in sorted(folder.iterdir()):
                os.replace(file, out_dir / file.name)
    except OSError as error:
        raise ProductsNotWrittenError(f"Nothing can be written to {out_dir}: {error.strerror or error}.") from error
