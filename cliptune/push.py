"""Uploads an export to a model repository of the Hugging Face hub.

The endpoint, the token and offline mode are those of huggingface_hub's own environment: HF_ENDPOINT, HF_TOKEN or a login, HF_HUB_OFFLINE.
"""

import json
import os
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id  # type: ignore[attr-defined] # no explicit exports

from cliptune import __version__
from cliptune.errors import ExportError

HTTP_ERROR: type[BaseException] = HfHubHTTPError.__bases__[0]  # requests', httpx's or httpx2's, by the version of huggingface_hub
# KeyError: an answer that no hub gives. RuntimeError: of xet, or around what happened to one file on its way.
FAILURES = (OSError, ValueError, KeyError, RuntimeError, HTTP_ERROR)


def push(folder: Path, repo: str, private: bool = False) -> str:
    """Upload a folder as one model; large files that are there already are not sent again, and files of that model only stay.

    Args:
        folder: what `export` wrote.
        repo: `owner/name`; made where it does not exist.
        private: make it private; where not given, the owner's own default counts.

    Returns:
        The address of the model's page.

    Raises:
        ExportError: the upload failed, in one line that says why and how to go on; the folder stays as it is.
    """
    if not folder.is_dir():
        raise ExportError(f"cannot push {folder}: there is no such folder. Give one that cliptune export wrote.")
    try:
        check_push(repo)
        if not sys.stderr.isatty() and constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
            disable_progress_bars()  # which write to files as well
        api = HfApi(token=True, library_name="cliptune", library_version=__version__)
        address = api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:  # one that exists keeps its visibility, without a word from the hub
            raise ExportError(f"cannot push to {repo} with --private: it is public already. Give another name, or make it private there.")
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message=f"Upload an export of cliptune {__version__}")
    except ExportError as error:
        raise ExportError(f"{error} {_way_on(folder, repo, private)}") from error
    except FAILURES as error:
        raise ExportError(f"cannot push to {repo}: {_reason(error)} {_way_on(folder, repo, private)}") from error
    return str(address)


def check_push(repo: str) -> None:
    """Refuse what cannot be pushed, before the work of an export; nothing is sent to the hub.

    Args:
        repo: `owner/name`.

    Raises:
        ExportError: a malformed id or endpoint, offline mode, or no token.
    """
    if not _is_id(repo):
        raise ExportError(
            f"cannot push to {repo}: a model's id is OWNER/NAME, each of letters, digits, '-', '_' and '.', at most 96 in all, "
            f"without '--', '..' or '.git' at the end. Give {_nearest_id(repo)}."
        )
    if constants.HF_HUB_OFFLINE:
        name = next((name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name)), "HF_HUB_OFFLINE")
        raise ExportError(f"cannot push to {repo}: {name}={os.environ.get(name, '1')} forbids huggingface_hub the network. Set it to 0.")
    if not _is_address(constants.ENDPOINT):
        raise ExportError(f"cannot push to {repo}: HF_ENDPOINT={constants.ENDPOINT} is not http(s)://HOST[:PORT]. Mend it, or unset it.")
    _check_token(repo)


def _check_token(repo: str) -> None:
    """Refuse where huggingface_hub finds no token, or one that no header can carry, which is not repeated here."""
    try:
        token = get_token() or ""
    except Exception as error:  # a file that cannot be read, or an exchange of OIDC: huggingface_hub has no class for all
        raise ExportError(f"cannot push to {repo}: huggingface_hub finds no token: {_line(error)} {_get_token()}") from error
    if not token:
        raise ExportError(f"cannot push to {repo}: there is no token, neither in HF_TOKEN nor of a login. {_get_token()}")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ExportError(f"cannot push to {repo}: the token holds a blank or a sign outside ASCII. {_get_token()}")


def _is_id(repo: str) -> bool:
    try:
        validate_repo_id(repo)
    except HFValidationError:
        return False
    return repo.count("/") == 1  # huggingface_hub takes a bare name to create, but not to upload to


def _is_address(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _nearest_id(repo: str) -> str:
    """The id that is meant, as of an address or of a name with blanks, or how one looks."""
    words = [re.sub(r"[^A-Za-z0-9._]+|\.{2,}", "-", word).strip("-.").removesuffix(".git") for word in repo.strip().split("/")]
    words = [word for word in words if word]
    near = "/".join(words[-2:]) if len(words) > 1 else f"OWNER/{words[0]}" if words else "OWNER/NAME"
    return near if _is_id(near) else "OWNER/NAME"


def _reason(error: BaseException) -> str:
    """What went wrong and what to do, by what huggingface_hub raised."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    endpoint = constants.ENDPOINT
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return _answer(status, _line(getattr(error, "server_message", None) or error))
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename} cannot be read: {error.strerror}. Mend that."
    if isinstance(error, (json.JSONDecodeError, KeyError)):
        return f"{endpoint} does not answer as a Hugging Face hub does ({_line(error)}) Check HF_ENDPOINT, or try again later."
    if isinstance(error, (OSError, HTTP_ERROR)):
        xet = " A hub that has no xet needs HF_HUB_DISABLE_XET=1." if "/xet-write-token/" in str(error) else ""
        return f"the exchange with {endpoint} failed: {_line(error)} Check the network, and HF_ENDPOINT where it is set.{xet}"
    return f"huggingface_hub refuses: {_line(error)}"


def _answer(status: int, said: str) -> str:
    """What an HTTP status of the hub means for an upload."""
    endpoint = constants.ENDPOINT
    if status == 401:
        return f"{endpoint} does not take the token (401): {said} {_get_token()}"
    if status in (402, 403):
        return f"the token may not write there ({status}): {said} Use one with that right, or a name of your own account."
    if status == 404:
        return f"{endpoint} does not find it ({status}): {said} Check the name, the token's rights, and HF_ENDPOINT where it is set."
    if status == 429 or status >= 500:
        return f"{endpoint} fails ({status}): {said} Try again later."
    return f"{endpoint} refuses ({status}): {said} Mend that."


def _line(text: object) -> str:
    """A library's message as one sentence."""
    words = " ".join(str(text).split()) or type(text).__name__
    return f"{words[:300].rstrip('.')}."


def _get_token() -> str:
    endpoint = constants.ENDPOINT
    return f"Make one that may write at {endpoint}/settings/tokens, then set HF_TOKEN to it, or run: hf auth login."


def _way_on(folder: Path, repo: str, private: bool) -> str:
    words = ["hf", "upload", repo if _is_id(repo) else _nearest_id(repo), str(folder), *(["--private"] if private else [])]
    return f"The export stays in {folder}; to upload it then: {shlex.join(words)}"
