"""How a data set's rows are seen: its views of training and evaluation, and what is known of them before anything is decoded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from cliptune.data.bad import Bad
from cliptune.data.classes import as_words, numbers_without_names
from cliptune.data.collate import EvalView, TrainView
from cliptune.data.kept.cache import Encoder, ImageTables, all_texts, image_tables, text_table
from cliptune.data.kept.decoded import DecodedImages, decoded_images
from cliptune.data.kept.store import RowStore
from cliptune.data.seen import Seen
from cliptune.data.texts.long_text import LongText
from cliptune.data.texts.templates import TEMPLATE
from cliptune.data.texts.token_counts import context_of, token_counts, truncated_share
from cliptune.data.views import ImageView
from cliptune.data.workers import Marks
from cliptune.errors import ConfigError, DataError
from cliptune.preprocess import Preprocess

if TYPE_CHECKING:
    from cliptune.data.images import ImageTextData

log = logging.getLogger(__name__)

LOOKED_AT = 1_000  # training rows, evenly spaced, whose captions' lengths are told


class Sights:
    """How the rows of a data set are seen.

    Args:
        data: set up.
    """

    def __init__(self, data: ImageTextData) -> None:
        self.data = data
        self.seen: dict[str, Seen] = {}  # by split: what frozen towers give
        self.bad: dict[str, list[Bad]] = {}  # by split: what could not be read when they saw it
        self.decoded: DecodedImages | None = None
        self._long_text: LongText | None = None

    @property
    def preprocess(self) -> Preprocess:
        """The backbone's."""
        if self.data.preprocess is None:
            raise ConfigError("ImageTextData has no preprocess. Pass the backbone's: ImageTextData(..., preprocess=backbone.preprocess).")
        return self.data.preprocess

    @property
    def long_text(self) -> LongText | None:
        """What is done with texts that are longer than the context; None where they are just cut."""
        how = self.data.options.long_text
        if how != "truncate" and self._long_text is None:
            self._long_text = LongText(how, self.preprocess.tokenizer, context_of(self.preprocess.tokenizer))
        return self._long_text

    def told_of_long_texts(self) -> list[str]:
        """What the user should know of texts that are longer than the context: their share, and what is done with them."""
        rows = self.data.rows("train", images=False)
        if self.data.preprocess is None or not len(rows) or not any(split.has_captions for split in self.data.splits["train"]):
            return []
        numbers = np.unique(np.linspace(0, len(rows) - 1, LOOKED_AT).astype(int))
        texts = [text for _, _, row in rows[[(0, int(number)) for number in numbers]] for text in row.captions]
        tokenizer = self.preprocess.tokenizer
        share = truncated_share(token_counts(tokenizer, texts), context_of(tokenizer))
        done = {
            "truncate": "their ends are cut off; data.long_text: split_mean or sample_sentence reads them too",
            "sample_sentence": "training draws one of their sentences, evaluation cuts their ends off",
            "split_mean": "they are read in pieces",
        }[self.data.options.long_text]
        return [f"{share:.1%} of the captions are longer than {context_of(tokenizer)} tokens: {done}"] if share else []

    def words(self) -> tuple[dict[str, int], dict[str, str]]:
        """From label to number and to the name that stands in texts; in sources whose classes are not those of evaluation, of all labels.

        Raises:
            DataError: a label of training is no class, where the objective learns from classes; or it is a number without a name.
        """
        data, number = self.data, dict(self.data.class_number)
        found = {label: data.class_names[i] for label, i in number.items()}
        for split in data.splits["train"]:
            unknown = [label for label in split.labels.distinct() if label not in found] if split.labels else []
            if unknown and split.labels and split.labels.are_text:
                if "classes" in data.needs:
                    where = data.eval_path or "the evaluation data"
                    raise DataError(
                        f"the training label {unknown[0]!r} is no class of {where}. Train on the same classes, or with Contrastive."
                    )
                number.update({label: max(number.values(), default=-1) + 1 + i for i, label in enumerate(unknown)})
                found.update({label: as_words(label) for label in unknown})
            elif unknown and not split.has_captions:
                raise numbers_without_names(unknown)
        return number, found

    def image_view(self) -> ImageView:
        """How training sees images."""
        options, views = self.data.options, self.data.views
        how = (options.crop_scale, options.flip, options.seed, options.transform)
        return ImageView(self.preprocess, "fresh" if views == "auto" else views, *how, self.decoded)

    def train_view(self, marks: Marks | None = None) -> TrainView:
        """How training sees rows."""
        data, (number, words) = self.data, self.words()
        return TrainView(
            self.image_view(),
            number,
            data.templates or [TEMPLATE],
            words,
            "pairs" in data.needs,
            self.seen.get("train"),
            data.options.swaps,
            self.long_text,
            data.several,
            marks.at if marks is not None else None,
            {label: data.class_texts[i] for label, i in data.class_number.items()} if data.options.descriptions is not None else None,
        )

    def eval_view(self, split: str | None = None, marks: Marks | None = None) -> EvalView:
        """How evaluation sees rows: images, or what frozen towers give of a split."""
        data, seen = self.data, self.seen.get(split or "")
        mark = marks.at if marks is not None else None
        return EvalView(self.preprocess, data.class_number, data.has_captions, seen, self.long_text, data.several, mark, split or "test")

    def see(self, split: str, images: Encoder | None, texts: Encoder | None) -> None:
        """Take what frozen towers give from the cache, computing what is not there yet; once for each split.

        Args:
            split: train, validation or test.
            images: of images, or None where that tower learns.
            texts: of texts, likewise.
        """
        if split in self.seen:
            return
        options, rows, store = self.data.options, self.data.rows(split), self._store()
        view = self.image_view() if split == "train" else ImageView(self.preprocess, 0, None, None, 0)
        tables = ImageTables()
        if images is not None:
            tables = image_tables(store, images, rows, view, self.data.workers, options.activations_gb)
        spoken = text_table(store, texts, self._texts(split), self.preprocess) if texts is not None else None
        self.seen[split] = Seen(images.key if images else "image_rows", tables, spoken, tables.bad)
        if tables.bad:
            keys = {number: row.key for _, number, row in self.data.rows(split, images=False)[[(0, number) for number in tables.bad]]}
            self.bad[split] = [Bad(split, number, keys[number], reason) for number, reason in sorted(tables.bad.items())]

    def keep_decoded(self) -> None:
        """Decode the training images once, where that is wanted and each epoch sees them anew."""
        data = self.data
        seen = "train" in self.seen and self.seen["train"].tables
        if data.options.decoded and self.decoded is None and not seen and self.image_view().views == "fresh" and not data.vectors:
            self.decoded = decoded_images(
                self._store(), data.rows("train"), self.preprocess, data.workers, data.options.crop_scale, data.options.transform
            )

    def _store(self) -> RowStore:
        limit = self.data.options.cache_gb
        return RowStore(limit_gb=limit, limit_key="data.cache_gb") if limit is not None else RowStore()

    def _texts(self, split: str) -> list[str]:
        """All texts that a split's rows may be given with."""
        if split == "train" and "pairs" in self.data.needs:
            return all_texts(self.data.rows(split, images=False), self.train_view().every_text)
        if split != "train" and self.data.has_captions:
            pieces = self.long_text.choices if self.long_text is not None and self.long_text.how == "split_mean" else lambda text: [text]
            return all_texts(self.data.rows(split, images=False), lambda row: [piece for text in row.captions for piece in pieces(text)])
        return []
