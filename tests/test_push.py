"""`push` against a stand-in hub on loopback, by huggingface_hub's own client in another process: each byte and each refusal."""

import hashlib
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from adapted_runs import adapted_run
from hub import READER, TOKEN, Hub, Repo
from small import error_of

from cliptune.methods.linear_probe import LinearProbe
from cliptune.push import _reason

PROGRAM = """
import sys
from pathlib import Path
from cliptune.errors import ExportError
from cliptune.push import check_push, push
try:
    print(check_push(sys.argv[1]) if len(sys.argv) == 2 else push(Path(sys.argv[2]), sys.argv[1], len(sys.argv) == 4))
except ExportError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""
pytestmark = pytest.mark.usefixtures("elsewhere")  # so that `home` is the test's own
CARD = "---\nlicense: mit\n---\n# Möwen\n"


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub that knows one owner, and that nobody has asked for another host when the test is over."""
    with Hub() as found:
        yield found
    assert found.strays == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of all kinds: text, empty, deep down, and two that go by LFS, for their name or their bytes."""
    found = tmp_path / "my export"
    (found / "deep" / "down").mkdir(parents=True)
    (found / "README.md").write_text(CARD, encoding="utf-8")
    (found / "empty.txt").touch()
    (found / "deep" / "down" / "Größe.json").write_text('{"a": "ü"}\n', encoding="utf-8")
    (found / "model.safetensors").write_bytes(b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(20_000)))
    (found / "rows").write_bytes(bytes(range(256)) * 3)
    return found


def content_of(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def run(hub: Hub, words: list[str], **changes: str) -> "subprocess.CompletedProcess[str]":
    """A program whose hub is this one, in the folder where it keeps what it caches."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
    environment = {**others, **hub.environment(Path("home")), **changes}
    return subprocess.run(words, env=environment, capture_output=True, encoding="utf-8", timeout=300)


def pushed(hub: Hub, *words: str | Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    return run(hub, [sys.executable, "-c", PROGRAM, *map(str, words)], **changes)


def line_of(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line of a refusal."""
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    return done.stderr.strip()


def test_every_byte_arrives_and_nothing_is_sent_twice(hub: Hub, folder: Path) -> None:
    done = pushed(hub, "owner/gulls", folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{hub.endpoint}/owner/gulls\n", "")
    repo = hub.repos["owner/gulls"]
    assert repo.files == content_of(folder)
    assert repo.large == {"model.safetensors", "rows"}
    assert not repo.private
    uploads = [asked for asked in hub.asked if asked.startswith("PUT ")]
    assert len(uploads) == 2

    again = pushed(hub, "owner/gulls", folder)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert len(repo.commits) == 1

    (folder / "README.md").write_text(CARD + "More.\n", encoding="utf-8")
    assert pushed(hub, "owner/gulls", folder).returncode == 0
    assert len(repo.commits) == 2
    assert repo.files == content_of(folder)
    assert [asked for asked in hub.asked if asked.startswith("PUT ")] == uploads


def test_private_is_private_or_refused(hub: Hub, folder: Path) -> None:
    assert pushed(hub, "owner/gulls", folder, "private").returncode == 0
    assert hub.repos["owner/gulls"].private
    hub.private = True
    assert pushed(hub, "owner/crows", folder).returncode == 0
    assert hub.repos["owner/crows"].private  # the owner's default is not overruled
    hub.repos["owner/terns"] = Repo(private=False)
    line = line_of(pushed(hub, "owner/terns", folder, "private"))
    assert line == (
        "cannot push to owner/terns with --private: it is public already. Give another name, or make it private there. "
        f"The export stays in {folder}; to upload it then: hf upload owner/terns '{folder}' --private"
    )
    assert hub.repos["owner/terns"].files == {}


MAKE = "Make one that may write at {endpoint}/settings/tokens, then set HF_TOKEN to it, or run: hf auth login."
EARLY: dict[str, tuple[str, dict[str, str], str]] = {
    "bare": ("gulls", {}, "cannot push to gulls: a model's id is OWNER/NAME, each of letters, digits, '-', '_' and '.', at most 96 in all, "
                          "without '--', '..' or '.git' at the end. Give OWNER/gulls."),
    "address": ("https://huggingface.co/owner/gulls/", {}, "Give owner/gulls."),
    "signs": ("owner/my gulls--2", {}, "Give owner/my-gulls-2."),
    "git": ("owner/gulls.git", {}, "Give owner/gulls."),
    "nothing": ("", {}, "Give OWNER/NAME."),
    "offline": ("owner/gulls", {"HF_HUB_OFFLINE": "1"},
                "cannot push to owner/gulls: HF_HUB_OFFLINE=1 forbids huggingface_hub the network. Set it to 0."),
    "transformers": ("owner/gulls", {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "yes"}, ": TRANSFORMERS_OFFLINE=yes forbids"),
    "no_token": ("owner/gulls", {"HF_TOKEN": ""},
                 f"cannot push to owner/gulls: there is no token, neither in HF_TOKEN nor of a login. {MAKE}"),
    "odd_token": ("owner/gulls", {"HF_TOKEN": "hf_sécret"},
                  f"cannot push to owner/gulls: the token holds a blank or a sign outside ASCII. {MAKE}"),
    "token_path": ("owner/gulls", {"HF_TOKEN": "", "HF_TOKEN_PATH": "."},
                   "cannot push to owner/gulls: huggingface_hub finds no token: [Errno 21] Is a directory: '.'. Make"),
    "endpoint": ("owner/gulls", {"HF_ENDPOINT": "localhost:80"},
                 "cannot push to owner/gulls: HF_ENDPOINT=localhost:80 is not http(s)://HOST[:PORT]. Mend it, or unset it."),
}  # fmt: skip


@pytest.mark.parametrize("case", EARLY)
def test_what_can_be_known_before_is_refused_without_asking(hub: Hub, case: str) -> None:
    repo, changes, expected = EARLY[case]
    line = line_of(pushed(hub, repo, **changes))
    assert expected.format(endpoint=changes.get("HF_ENDPOINT", hub.endpoint)) in line
    assert "sécret" not in line
    assert hub.asked == []


def test_a_login_is_a_token_and_a_check_asks_nothing(hub: Hub) -> None:
    Path("home").mkdir()
    Path("home/token").write_text(f"{TOKEN}\n", encoding="utf-8")
    done = pushed(hub, "owner/gulls", HF_TOKEN="")
    assert (done.returncode, done.stderr) == (0, "")
    assert hub.asked == []


LATE: dict[str, tuple[str, dict[str, str], dict[str, int], str]] = {
    "offline": ("owner/gulls", {"HF_HUB_OFFLINE": "1"}, {}, "HF_HUB_OFFLINE=1 forbids huggingface_hub the network. Set it to 0."),
    "token": ("owner/gulls", {"HF_TOKEN": "hf_wrong"}, {},
              f"{{endpoint}} does not take the token (401): Invalid username or password. {MAKE}"),
    "owner": ("other/gulls", {}, {},
              "the token may not write there (403): You don't have the rights to create a model under the namespace 'other'. "
              "Use one with that right, or a name of your own account."),
    "reader": ("owner/terns", {"HF_TOKEN": READER}, {}, "the token may not write there (403): Forbidden: pass a token with write rights."),
    "server": ("owner/gulls", {}, {"create": 503}, "{endpoint} fails (503): broken create. Try again later."),
    "storage": ("owner/gulls", {}, {"storage": 507}, "{endpoint} fails (507): broken storage. Try again later."),
    "many": ("owner/gulls", {}, {"create": 429}, "{endpoint} fails (429): broken create. Try again later."),
    "commit": ("owner/gulls", {}, {"commit": 412}, "{endpoint} refuses (412): broken commit. Mend that."),
    "gone": ("owner/gulls", {}, {"preupload": 404}, "{endpoint} does not find it (404): broken preupload. Check the name, the token's"),
}  # fmt: skip


@pytest.mark.parametrize("case", LATE)
def test_a_failure_is_one_line_and_the_export_stays(hub: Hub, folder: Path, case: str) -> None:
    repo, changes, hub.faults, expected = LATE[case]
    hub.repos["owner/terns"] = Repo(private=False)
    before = content_of(folder)
    line = line_of(pushed(hub, repo, folder, **changes))
    assert line.startswith(f"cannot push to {repo}: {expected.format(endpoint=hub.endpoint)}")
    assert line.endswith(f". The export stays in {folder}; to upload it then: hf upload {repo} '{folder}'")
    assert content_of(folder) == before
    assert all(found.commits == [] for found in hub.repos.values())


def test_the_command_of_a_failure_uploads(hub: Hub, folder: Path) -> None:
    hub.faults["create"] = 503
    line = line_of(pushed(hub, "owner/gulls", folder, "private"))
    hub.faults.clear()
    words = shlex.split(line.rpartition("then: hf ")[2])
    done = run(hub, [str(Path(sys.executable).with_name("hf")), *words], HF_HUB_DISABLE_UPDATE_CHECK="1")
    assert done.returncode == 0, done.stderr
    assert hub.repos["owner/gulls"].files == content_of(folder)
    assert hub.repos["owner/gulls"].private


def test_without_a_network_or_with_another_server_it_says_so(hub: Hub, folder: Path) -> None:
    stays = f"The export stays in {folder}; to upload it then: hf upload owner/gulls '{folder}'"
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        line = line_of(pushed(hub, "owner/gulls", folder, HF_ENDPOINT=nobody))
    assert line.startswith(f"cannot push to owner/gulls: the exchange with {nobody} failed: ")
    assert line.endswith(f" Check the network, and HF_ENDPOINT where it is set. {stays}")
    hub.plain = True
    line = line_of(pushed(hub, "owner/gulls", folder))
    assert line.startswith(f"cannot push to owner/gulls: {hub.endpoint} does not answer as a Hugging Face hub does (Expecting value: ")
    assert line.endswith(f" Check HF_ENDPOINT, or try again later. {stays}")


def test_a_hub_without_xet_says_how_to_do_without(hub: Hub, folder: Path) -> None:
    done = pushed(hub, "owner/gulls", folder, HF_HUB_DISABLE_XET="0")
    if "GET /api/models/owner/gulls/xet-write-token/main" not in hub.asked:
        pytest.skip("no hf_xet, or a client before 2.0, which takes what the server offers")
    assert " where it is set. A hub that has no xet needs HF_HUB_DISABLE_XET=1. The export stays in" in line_of(done)


def test_what_cannot_be_read_or_is_no_card_is_named(hub: Hub, folder: Path) -> None:
    line = line_of(pushed(hub, "owner/gulls", "none"))
    assert line == "cannot push none: there is no such folder. Give one that cliptune export wrote."
    assert hub.asked == []
    (folder / "README.md").write_text("---\nlicense: [\n---\n", encoding="utf-8")
    line = line_of(pushed(hub, "owner/gulls", folder))
    assert line.startswith("cannot push to owner/gulls: huggingface_hub refuses: Invalid metadata in README.md. - while parsing a")
    assert hub.repos["owner/gulls"].files == {}
    # root may read all, so that no file can be made that the upload cannot
    assert _reason(PermissionError(13, "Permission denied", "out/w.bin")) == "out/w.bin cannot be read: Permission denied. Mend that."


@pytest.mark.slow
def test_an_export_is_pushed_as_it_is_on_disk(hub: Hub, tiny: dict[str, str], tmp_path: Path) -> None:
    adapted_run(tiny["vit"], LinearProbe(), tmp_path / "runs" / "probe")
    words = ["export", "runs/probe", "--format", "classifier", "--output", "out", "--samples", "4", "--push", "owner/probe", "--private"]
    done = run(hub, [sys.executable, "-m", "cliptune", *words])
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"\n\npushed: {hub.endpoint}/owner/probe\n")
    repo = hub.repos["owner/probe"]
    assert (repo.private, repo.files) == (True, content_of(Path("out")))
    assert repo.files.keys() - repo.large == {"README.md", "export.json"}
    assert repo.large


def test_a_push_that_cannot_be_is_refused_before_the_export(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "runs/none", "--format", "classifier", "--output", "out", "--push", "owner/probe"]  # no run: not even looked for
    line = error_of(capsys, *words)  # this process is offline, see conftest
    assert line == "ExportError: cannot push to owner/probe: HF_HUB_OFFLINE=1 forbids huggingface_hub the network. Set it to 0."


def test_the_stand_in_is_strict(hub: Hub) -> None:
    place = f"/storage/{hashlib.sha256(b'whole').hexdigest()}?signature=x"
    assert [hub.status("PUT", place, data) for data in (b"hole", b"whole")] == [400, 200]
    made = b'{"organization": "owner", "name": "x"}'
    assert [hub.status("POST", "/api/repos/create", made, token) for token in ("", READER, TOKEN, TOKEN)] == [401, 403, 200, 409]
    lines = b'{}\n{"key": "lfsFile", "value": {"path": "w.bin", "oid": "never sent", "size": 3}}\n'
    assert hub.status("POST", "/api/models/owner/x/commit/main", lines, TOKEN) == 400
