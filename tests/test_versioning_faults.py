"""What goes wrong between two places: killed processes, full disks, damage, forgery, two writers, a bucket; real processes all of them."""
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from mlsys import core, versioning
from mlsys.versioning import saving
from mlsys.versioning.checkout import sweep
from mlsys.versioning.store import STORE, Snapshot, file_md5, find_store, locked_repo, snapshot_text

DO = "import sys; from pathlib import Path; from mlsys import versioning\n"


def process(code, *args, **more):
    return subprocess.Popen([sys.executable, "-c", DO + code, *map(str, args)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **more)


def files(folder, n=40, size=200_000, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        (folder / f"{i:03}.bin").write_bytes(bytes([seed, i % 256]) * (size // 2) + os.urandom(64))
    return folder


@pytest.fixture
def store(tmp_path):
    "A store with two versions of a folder, and a remote."
    here = tmp_path / "here"
    files(here / "table")
    versioning.snapshot(here / "table", "one", store=here / STORE)
    (here / "table" / "000.bin").write_bytes(b"changed")
    versioning.snapshot(here / "table", "two", store=here / STORE)
    versioning.add_remote("backup", tmp_path / "backup", store=here / STORE)
    return here / STORE


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_file() and STORE not in p.parts}


# in these processes each copy takes its time, so that a kill falls into the middle of the work, not before or after it
SLOW = """
import time, dvc_objects.fs.local as local
whole = local.copyfile
def copyfile(a, b, **kw):
    data = Path(a).read_bytes()
    with open(b, "wb") as f:
        f.write(data[:len(data) // 2]); f.flush(); time.sleep(0.02); f.write(data[len(data) // 2:])
    print("copied", flush=True)
local.copyfile = copyfile
"""


def killed_in_the_middle(code, *args, after):
    p = process(SLOW + code, *args)
    for _ in range(after):
        line = p.stdout.readline()
        assert line == "copied\n", line + p.stderr.read()
    p.kill()
    assert p.wait() == -signal.SIGKILL
    p.stdout.close()
    p.stderr.close()


@pytest.mark.parametrize("after", [1, 17])
def test_killed_during_push(store, tmp_path, after):
    killed_in_the_middle("versioning.push(store=sys.argv[1])", store, after=after)
    there = tmp_path / "backup"
    assert 0 < len(list(there.rglob("*"))) and not list(there.rglob("*.dvc"))  # nothing is listed that is not whole
    with core.refused("holds no versions"):
        versioning.pull(url=str(there), store=tmp_path / "early" / STORE)
    done = versioning.push(store=store)
    assert done["versions"] == 2 and versioning.push(store=store) == dict(versions=0, files=0)
    other = tmp_path / "other" / STORE
    versioning.pull(url=str(there), store=other)
    versioning.restore("latest", store=other)
    assert content(other.parent / "table") == content(store.parent / "table") and not versioning.verify(other)["damaged"]


def test_killed_during_pull(store, tmp_path):
    versioning.push(store=store)
    other = tmp_path / "other" / STORE
    find_store(other, create=True)
    versioning.add_remote("backup", tmp_path / "backup", store=other)
    killed_in_the_middle("versioning.pull(store=sys.argv[1])", other, after=9)
    assert versioning.log(other) == []  # no version is listed before all of its files are there
    assert versioning.pull(store=other)["versions"] == 2 and not versioning.verify(other)["damaged"]
    versioning.restore("latest", store=other)
    assert content(other.parent / "table") == content(store.parent / "table")


def test_killed_during_snapshot_and_restore(store):
    table = files(store.parent / "table", seed=7)
    mine = content(table)
    killed_in_the_middle("versioning.snapshot(sys.argv[1], 'three', store=sys.argv[2])", table, store,
                         after=11)
    assert [x.message for x in versioning.log(store)] == ["two", "one"] and not versioning.verify(store)["damaged"]
    versioning.snapshot(table, "three", store=store)
    killed_in_the_middle("versioning.restore(versioning.log(sys.argv[1])[-1].rev, store=sys.argv[1])", store,
                         after=13)
    assert content(table) == mine  # the old content stays in place until the new one is whole
    versioning.restore(versioning.log(store)[-1].rev, store=store)
    versioning.restore("latest", store=store)
    assert content(store.parent) == {f"table/{n}": c
                                     for n, c in mine.items()}  # and nothing is left beside it


@pytest.mark.parametrize("left", ["old", "new"])
def test_killed_between_two_renames(store, left):
    table = store.parent / "table"
    before = content(table)
    table.rename(table.with_name(f".table.999999.{left}"))
    if left == "new":
        shutil.copytree(table.with_name(".table.999999.new"), table)
    sweep(table)
    assert content(table) == before and [p.name for p in store.parent.iterdir() if p.name != STORE] == ["table"]


def full_disk(place, data, make_room):
    "A snapshot on a full disk: one sentence, nothing half, and the next one is whole."
    table = files(data / "table", n=20)
    store = place / STORE
    versioning.snapshot({"small": next(table.iterdir())}, "fits", store=store)
    with core.refused("cannot write"):
        versioning.snapshot({"table": table}, "does not fit", store=store)
    assert [x.message for x in versioning.log(store)] == ["fits"]
    make_room()
    assert not versioning.verify(store)["damaged"]
    versioning.snapshot({"table": table}, "fits now", store=store)
    versioning.restore("latest", to=data / "back", store=store)
    assert content(data / "back" / "table") == content(table)


def test_a_full_disk(tiny_disk):
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"x" * 4_000_000)
    full_disk(tiny_disk / "store", tiny_disk.parent / "data", ballast.unlink)


def failing_copies(monkeypatch, n):
    """From the n-th copy on, the disk is full: half of the file is written, then the error comes that a
    full disk gives."""
    import dvc_objects.fs.local as local
    whole, left = local.copyfile, [n]

    def copyfile(a, b, **more):
        left[0] -= 1
        if left[0] > 0:
            return whole(a, b, **more)
        Path(b).write_bytes(Path(a).read_bytes()[:1000])
        raise OSError(errno.ENOSPC, "No space left on device", str(b))
    monkeypatch.setattr(local, "copyfile", copyfile)
    return lambda: monkeypatch.setattr(local, "copyfile", whole)


def test_a_disk_that_fills_up_during_a_snapshot(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    full_disk(tmp_path / "store", tmp_path / "data", failing_copies(monkeypatch, 10))


def test_a_disk_that_fills_up_during_push_pull_and_restore(store, tmp_path, monkeypatch):
    there, other = tmp_path / "backup", tmp_path / "other" / STORE
    for step in ("push", "pull", "restore"):
        room = failing_copies(monkeypatch, 10)

        def act(step=step):
            if step == "push":
                return versioning.push(store=store)
            return versioning.pull(url=str(there), store=other) if step == "pull" else versioning.restore("latest", store=other)
        with core.refused("no space left"):
            act()
        assert not list(there.rglob("*.dvc")) if step == "push" else not (other.parent / "table").exists()
        room()
        act()
    assert content(other.parent / "table") == content(store.parent / "table")


def damage(path, keep_mode=True):
    mode = path.stat().st_mode
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    path.chmod(mode)


def objects_of(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and len(p.parent.name) == 2)


def test_a_damaged_file_in_the_store_is_not_restored_nor_pushed_and_heals(store, tmp_path):
    table = store.parent / "table"
    before = content(table)
    victim = store / ".dvc" / "cache" / "files" / "md5"
    digest = file_md5(table / "005.bin")
    damage(victim / digest[:2] / digest[2:])
    with core.refused("nothing was copied"):
        versioning.push(store=store)
    with core.refused("'table/005.bin' is missing or damaged"):
        versioning.restore("latest", store=store)
    assert content(table) == before and (store / "damaged" / digest).exists()  # what is there stays; the damaged file is set aside
    told = versioning.verify(store)
    assert told["damaged"] == ["'table/005.bin'"] and len(told["versions"]) == 2
    versioning.snapshot(table, "again", store=store)  # heals from the working files
    assert versioning.verify(store)["damaged"] == [] and versioning.push(store=store)["versions"] == 2
    damage(victim / digest[:2] / digest[2:])
    versioning.restore("latest", store=store)         # heals from the remote
    assert versioning.verify(store)["damaged"] == [] and content(table) == before


@pytest.mark.parametrize("kind", ["file", "list of a folder"])
def test_what_was_changed_on_the_remote_is_noticed(store, tmp_path, kind):
    versioning.push(store=store)
    there, other = tmp_path / "backup", tmp_path / "other" / STORE
    victims = [p for p in objects_of(there / "files") if (p.suffix == ".dir") == (kind != "file")]
    good = victims[0].read_bytes()
    if kind == "file":
        damage(victims[0])
    else:  # a forged list that would write outside of the folder
        victims[0].chmod(0o644)
        victims[0].write_bytes(good.replace(b"001.bin", b"../../evil.bin"))
    with core.refused("changed"):
        versioning.pull(url=str(there), store=other)
    assert versioning.log(other) == [] and not list(tmp_path.rglob("evil*"))
    assert versioning.push(store=store)["files"] == 0             # it is there, so nobody looks at it
    assert versioning.push(store=store, check=True)["files"] == 1  # unless told to
    assert victims[0].read_bytes() == good
    assert versioning.pull(store=other)["versions"] == 2 and not versioning.verify(other)["damaged"]


def test_a_forged_snapshot_is_refused(store, tmp_path):
    versioning.push(store=store)
    text = next((tmp_path / "backup" / "snapshots").glob("*.dvc"))
    text.write_text(text.read_text().replace("message: ", "message: not "))
    with core.refused("was changed or damaged"):
        versioning.pull(url=str(tmp_path / "backup"), store=tmp_path / "other" / STORE)
    versioning.push(store=store, check=True)
    assert "not" not in text.read_text() and versioning.pull(store=tmp_path / "other" / STORE)["versions"] == 2
    evil = Snapshot("2024-01-01T00:00:00+00:00", "data", "", {"../evil": {"md5": "0" * 32, "size": 1}}, {},
                    "")
    text.unlink()
    (text.parent / f"{evil.rev}.dvc").write_text(snapshot_text(evil))
    with core.refused("not a plain relative path"):
        versioning.pull(url=str(tmp_path / "backup"), store=tmp_path / "third" / STORE)


def test_a_file_lost_on_the_remote_is_pushed_again(store, tmp_path):
    versioning.push(store=store)
    lost = [p for p in objects_of(tmp_path / "backup" / "files") if p.suffix != ".dir"][3]
    good = lost.read_bytes()
    lost.unlink()
    with core.refused("is missing or was changed there (1 of"):
        versioning.pull(url=str(tmp_path / "backup"), store=tmp_path / "other" / STORE)
    assert versioning.push(store=store) == dict(versions=0, files=1) and lost.read_bytes() == good


def test_two_writers_at_once(tmp_path):
    """Three processes make the store and save at the same time: all versions are there, in one line of
    descent."""
    for i in range(3):
        files(tmp_path / f"t{i}", n=5, seed=i)
    code = "versioning.snapshot(sys.argv[1], sys.argv[1][-2:], store=sys.argv[2])"
    running = [process(code, tmp_path / f"t{i}", tmp_path / STORE) for i in range(3)]
    ends = [(p.communicate()[1], p.returncode) for p in running]
    assert [code for _, code in ends] == [0] * 3, ends
    every = versioning.log(tmp_path / STORE)
    assert sorted(x.message for x in every) == [f"t{i}" for i in range(3)]
    assert [x.parent for x in every] == [x.rev for x in every[1:]] + [""]
    assert versioning.verify(tmp_path / STORE)["damaged"] == [] and not list(tmp_path.glob(".*.new"))


def test_a_writer_that_never_ends_is_named(store):
    p = process("from mlsys.versioning.store import locked_repo\nwith locked_repo(Path(sys.argv[1])): "
                "print('in', flush=True); sys.stdin.read()", store, stdin=subprocess.PIPE)
    assert p.stdout.readline() == "in\n"
    with core.refused("another process has been writing there"), locked_repo(store, patience=0.1):
        pass
    p.kill()
    p.wait()
    for pipe in (p.stdin, p.stdout, p.stderr):
        pipe.close()
    assert versioning.verify(store)["damaged"] == []  # the lock died with it


def test_a_file_that_is_being_written_is_not_saved(tmp_path, monkeypatch):
    table = files(tmp_path / "table", n=3)
    add = saving.add_files

    def slow(into, fs, files, what):
        (table / "001.bin").write_bytes(b"more")  # a writer comes between hashing and copying
        return add(into, fs, files, what)
    monkeypatch.setattr(saving, "add_files", slow)
    with core.refused("written to while it was being saved"):
        versioning.snapshot(table, store=tmp_path / STORE)
    monkeypatch.undo()
    assert versioning.log(tmp_path / STORE) == []
    versioning.snapshot(table, store=tmp_path / STORE)
    assert versioning.verify(tmp_path / STORE)["damaged"] == []


@pytest.fixture(scope="module")
def s3():
    "moto's server, a bucket in it, and a client."
    boto3 = pytest.importorskip("boto3")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    keys = dict(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1",
                endpoint_url=url)
    client = boto3.client("s3", **keys)
    client.create_bucket(Bucket="versions")
    yield url, client
    server.kill()
    server.wait()


@pytest.mark.parametrize("sse", ["AES256", "aws:kms"])
def test_an_encrypted_bucket(s3, store, tmp_path, sse):
    url, client = s3
    prefix = sse.replace(":", "-")
    options = dict(endpointurl=url, region="us-east-1", access_key_id="test", secret_access_key="test",
                   sse=sse)
    versioning.add_remote("bucket", f"s3://versions/{prefix}", store=store, **options)
    assert versioning.push(store=store)["versions"] == 2
    listed = [o["Key"] for o in client.list_objects_v2(Bucket="versions", Prefix=prefix)["Contents"]]
    assert len(listed) > 40 and {client.head_object(Bucket="versions", Key=k)["ServerSideEncryption"] for k in listed} == {sse}
    assert "secret" not in (store / ".dvc" / "config").read_text() and "config.local" in (store / ".gitignore").read_text()
    other = tmp_path / "other" / STORE
    versioning.pull("bucket", url=f"s3://versions/{prefix}", store=other, **options)
    versioning.restore("latest", store=other)
    assert content(other.parent / "table") == content(store.parent / "table")
    victim = max((k for k in listed if not k.endswith((".dir", ".dvc"))), key=len)
    client.put_object(Bucket="versions", Key=victim, Body=b"forged")
    with core.refused("was changed there"):
        versioning.pull("bucket", url=f"s3://versions/{prefix}", store=tmp_path / "third" / STORE, **options)


def test_a_bucket_that_cannot_be_reached(s3, store):
    url, _ = s3
    good = dict(region="us-east-1", access_key_id="test", secret_access_key="test")
    versioning.add_remote("nowhere", "s3://no-such-bucket/x", store=store, endpointurl=url, **good)
    with core.refused("s3://no-such-bucket/x"):
        versioning.pull(store=store)
    with core.refused("remote 'wrong'"):
        versioning.add_remote("wrong", "s3://versions/x", store=store, sse_typo="AES256")
    with core.refused("remote 'bakup' is unknown; did you mean 'backup'?"):
        versioning.push("bakup", store=store)
