"""What can go wrong with the catalog."""


class CatalogError(Exception):
    """The catalog cannot be opened or read; the message names the file and the remedy."""


class CatalogWriteError(Exception):
    """A change was not made durable and is undone; a retry helps once the cause (a full disk?) is gone."""
