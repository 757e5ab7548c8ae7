"""`cliptune search`: images of an index, by words or by an image."""

from pathlib import Path

from cliptune.call import call
from cliptune.errors import ConfigError


def run(words: list[str]) -> None:
    """Run `search`."""
    call("search", words, search)


def search(index: str, query: str, *, k: int = 10, gallery: Path | None = None, exact: bool = False, model: str | None = None) -> None:
    """Find images, and show them.

    Args:
        index: the folder.
        query: words, or the path of an image.
        k: how many.
        gallery: a .png or .html file to show them in.
        exact: compare with every row.
        model: that made the index, where it lies elsewhere now.
    """
    if gallery is not None and gallery.suffix.lower() not in (".png", ".html"):
        raise ConfigError(f"--gallery {gallery} is neither a .png nor an .html file. Write --gallery found.html")
    from cliptune.quiet import quiet

    quiet()
    from cliptune.index import Index
    from cliptune.loading import load

    opened = Index.open(index)
    loaded = load(model or opened.about["model"])
    opened.check_model(loaded.fingerprint())
    hits = loaded.search(query, opened, k, exact)
    for hit in hits:
        print(f"{hit.score:.4f}  {hit.path}")
    if gallery is not None:
        from cliptune.gallery import draw_gallery

        draw_gallery(gallery, hits, query)
        print(f"gallery: {gallery}")
