"""The small pictures of a page, as far as there is room for them."""

from collections.abc import Mapping

from cliptune.page.markup import Markup, el


class Pictures:
    """Gives pictures until a number of bytes is used.

    Args:
        thumbnails: JPEGs in base64, by a key of the caller's.
        room: bytes.
    """

    def __init__(self, thumbnails: Mapping[str, str], room: int) -> None:
        self.thumbnails, self.room = thumbnails, room

    def image(self, key: str, name: str) -> Markup:
        """The picture of a key, or a box that says that there is none; the name is for those who do not see it."""
        data = self.thumbnails.get(key)
        if data is None or len(data) > self.room:
            return el("span", "cannot be shown" if data is None else "no room", class_="none")
        self.room -= len(data)
        return el("img", src=f"data:image/jpeg;base64,{data}", alt=name, decoding="async")

    def has(self, key: str) -> bool:
        """Whether there is a picture, and room for it."""
        return len(self.thumbnails.get(key, " " * (self.room + 1))) <= self.room
