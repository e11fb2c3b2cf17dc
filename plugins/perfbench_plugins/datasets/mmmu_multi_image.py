"""Dataset `mmmu_multi_image`: university exams with several pictures each (MMMU's validation split)."""

import re
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from perfbench_plugins.datasets.base import BaseDatasetArgs, DatasetPluginBase, Message
from perfbench_plugins.datasets.hub import DatasetSource
from perfbench_plugins.datasets.images import folder_of, image_url
from perfbench_plugins.registry import register_dataset

PLACE = re.compile(r"<image[_ ](\d+)>")
"""Where in the question a picture belongs."""


class MmmuArgs(BaseDatasetArgs):
    """Options of mmmu_multi_image."""

    subset: str | None = None
    """One subject, such as Music; all of them in turn if not given."""
    min_images: int = Field(2, ge=1, le=7)
    """Leave out questions with fewer pictures."""


@register_dataset("mmmu_multi_image")
class MMMUMultiImageDatasetPlugin(DatasetPluginBase):
    """Questions with several pictures, one of each subject in turn; the pictures are sent as they are stored."""

    args_schema = MmmuArgs
    dataset_source = DatasetSource("AI-ModelScope/MMMU", hf_dataset_id="MMMU/MMMU")
    subsets: ClassVar[tuple[str, ...]] = tuple(
        (
            "Accounting Agriculture Architecture_and_Engineering Art Art_Theory Basic_Medical_Science Biology Chemistry"
            " Clinical_Medicine Computer_Science Design Diagnostics_and_Laboratory_Medicine Economics Electronics"
            " Energy_and_Power Finance Geography History Literature Manage Marketing Materials Math"
            " Mechanical_Engineering Music Pharmacy Physics Psychology Public_Health Sociology"
        ).split()
    )
    max_images = 7

    def build_messages(self) -> Iterator[Any]:
        """One chat message with text and pictures for each question that has enough of them."""
        one = (self.load_hub_dataset(split="validation"),)
        subsets = (self.dataset_args.subset,) if self.dataset_args.subset else self.subsets
        many = (self.load_hub_dataset(split="validation", subset=subset) for subset in subsets)
        going = [iter(rows) for rows in (one if self.query_parameters.dataset_path else many)]
        while going:
            for rows in list(going):
                row = next(rows, None)
                if row is None:
                    going.remove(rows)
                elif len(images := self._images(row)) >= self.dataset_args.min_images:
                    yield [self._message(_question(row), images)]

    def _images(self, row: dict[str, Any]) -> dict[int, str]:
        folder = folder_of(self.query_parameters.dataset_path)
        numbers = range(1, self.max_images + 1)
        return {number: image_url(row[name], folder) for number in numbers if row.get(name := f"image_{number}")}

    def _message(self, question: str, images: dict[int, str]) -> Message:
        """The question, each picture where it is spoken of; all after it where none is."""
        pieces = PLACE.split(question)  # text, number, text, number, …, text
        parts: list[Message] = []
        for index, piece in enumerate(pieces):
            if index % 2 and int(piece) in images:
                parts.append({"type": "image_url", "image_url": {"url": images[int(piece)]}})
            elif index % 2 == 0 and piece.strip():
                parts.append({"type": "text", "text": piece})
        if len(pieces) == 1 or not parts:
            return self.create_message(question, list(images.values()))
        return {"role": "user", "content": parts}


def _question(row: dict[str, Any]) -> str:
    options = row.get("options")
    return f"{row['question']}\nOptions: {options}" if options and options != "[]" else str(row["question"])
