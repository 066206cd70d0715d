"""How processes meet, agree, hand on parcels and end together; here each is a thread, over real sockets."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lwm_core.processes.base import ProcessesError, listening
from lwm_core.processes.join import Joined, evident
from lwm_core.processes.parcels import Gone, Parcels
from lwm_core.processes.roll import call
from lwm_core.processes.star import Star


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def meet(who, count, timeout=20.0):
    """Each of `who`, (index, count it was told), calls the roll at once; what each got, or raised."""
    address = f"127.0.0.1:{free_port()}"

    def one(index, told):
        try:
            return call(address, told, index, 1, timeout)
        except ProcessesError as error:
            return error

    with ThreadPoolExecutor(len(who)) as pool:
        return list(pool.map(lambda each: one(*each), [(i, count) if isinstance(i, int) else i for i in who]))


def hang_up(rolls):
    for roll in rolls:
        for link in roll.links.values():
            link.close()


@pytest.fixture
def company():
    """Three processes that have met."""
    servers = [listening(0) for _ in range(3)]
    address = f"127.0.0.1:{free_port()}"
    with ThreadPoolExecutor(3) as pool:
        rolls = list(pool.map(lambda i: call(address, 3, i, servers[i].getsockname()[1], 20.0), range(3)))
    heard = [threading.Event() for _ in range(3)]
    said = [""] * 3

    def ending(index):
        def told(text, code):
            said[index] = f"{code} {text}"
            heard[index].set()

        return told

    stars = [Star(roll, ending(i)) for i, roll in enumerate(rolls)]
    parcels = [Parcels(i, rolls[i].addresses, rolls[i].token, servers[i]) for i in range(3)]
    yield stars, parcels, heard, said
    for each in (*parcels, *stars):
        each.close()


def together(*calls):
    with ThreadPoolExecutor(len(calls)) as pool:
        return [done.result(20) for done in [pool.submit(each) for each in calls]]


def test_all_meet_and_know_each_other():
    rolls = meet([2, 0, 1], 3)
    assert [roll.index for roll in rolls] == [2, 0, 1]
    assert len({roll.token for roll in rolls}) == 1
    assert sorted(rolls[1].links) == [1, 2]
    hang_up(rolls)


@pytest.mark.parametrize(
    ("who", "count", "wrong"),
    [
        ([0, 2], 3, "2 of 3 processes came within 1 s; missing: 1."),
        ([0, 1, 1], 3, "Process 1 came twice"),
        ([0, (1, 3)], 2, "Process 1 was told of 3 processes, and process 0 of 2"),
        ([1], 2, "Process 1 found no coordinator at 127.0.0.1:"),
        ([(2, 2)], 2, "Process 2 of 2: processes count from 0, so give 0 to 1."),
    ],
)
def test_a_meeting_that_fails_says_who(who, count, wrong):
    got = meet(who, count, timeout=1.0)
    assert all(isinstance(one, ProcessesError) for one in got), got
    assert any(wrong in str(one) for one in got), got


def test_a_port_that_is_taken():
    with listening(0) as server:
        with pytest.raises(ProcessesError, match="another process 0, or another program, has it"):
            call(f"127.0.0.1:{server.getsockname()[1]}", 2, 0, 1, 1.0)


@pytest.mark.parametrize("address", ["here", "here:", ":12", "here:port", "here:70000"])
def test_an_address_that_is_none(address):
    with pytest.raises(ProcessesError, match="is not HOST:PORT"):
        call(address, 2, 1, 1, 1.0)


def test_strangers_are_shown_the_door():
    address = f"127.0.0.1:{free_port()}"
    with ThreadPoolExecutor(2) as pool:
        host = pool.submit(call, address, 2, 0, 1, 20.0)
        for words in (b"GET / HTTP/1.1\r\nHost: a-host-of-some-length\r\n\r\n", b""):
            while True:
                try:
                    stranger = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
                    break
                except OSError:
                    assert not host.done()
            stranger.sendall(words)
            stranger.close()
        guest = pool.submit(call, address, 2, 1, 1, 20.0)
        rolls = host.result(20), guest.result(20)
    hang_up(rolls)
    assert [sorted(roll.links) for roll in rolls] == [[1], [0]]


def test_what_all_say_reaches_all(company):
    stars, *_ = company
    said = together(*[lambda star=star: star.gather("names", f"I am {star.index}".encode()) for star in stars])
    assert said == [[b"I am 0", b"I am 1", b"I am 2"]] * 3


def test_one_who_does_not_say_is_named(company):
    stars, *_ = company
    with pytest.raises(ProcessesError, match="processes 2 to come to 'names'"):
        together(lambda: stars[0].gather("names", b"", 0.5), lambda: stars[1].gather("names", b"", 2.0))


def test_what_differs_is_named_everywhere(company):
    stars, parcels, *_ = company
    who = [Joined(i, 3, "", stars[i], parcels[i]) for i in range(3)]
    together(*[lambda one=one: one.agree("same", {"recipe": {"seed": 0}}) for one in who])

    def differs(one, seed):
        with pytest.raises(ProcessesError, match=r"Process 2 is not as process 0: recipe\.seed is 7, there 0\."):
            one.agree("other", {"recipe": {"seed": seed, "same": 1}})

    together(*[lambda one=one, seed=seed: differs(one, seed) for one, seed in zip(who, (0, 0, 7), strict=True)])


def test_a_process_that_dies_is_named_to_all(company):
    stars, _, heard, said = company
    stars[1].close()
    assert heard[0].wait(10) and heard[2].wait(10)
    for index in (0, 2):
        assert said[index].startswith("1 process 1 of 3 failed: its connection ended without a word"), said
    assert not heard[1].is_set()


def test_one_that_has_taken_leave_is_not_missed(company):
    stars, _, heard, _ = company
    stars[1].leave()
    stars[1].close()
    assert not heard[0].wait(0.3)


def test_parcels_are_kept_until_all_have_had_them(company):
    _, parcels, *_ = company
    sessions = together(*[each.open for each in parcels])
    data = bytes(range(256)) * 5000
    waiting = [lambda s=s: s.get(1, "a") for s in (sessions[0], sessions[2])]
    assert together(*waiting, lambda: sessions[1].put("a", data))[:2] == [data, data]
    assert not sessions[1].made, "nobody else will come for it"


def test_who_waits_for_a_parcel_is_freed_by_either_end(company):
    _, parcels, *_ = company
    sessions = [each.open() for each in parcels]

    def waits(session, owner):
        with pytest.raises(Gone):
            session.get(owner, "never")

    together(lambda: waits(sessions[0], 1), lambda: waits(sessions[2], 0), sessions[1].close, sessions[2].close)


def test_a_session_that_is_closed_while_it_connects_waits_for_nothing(company, monkeypatch):
    _, parcels, *_ = company
    session, connect = [each.open() for each in parcels][0], socket.create_connection

    def meanwhile(*arguments, **options):
        link = connect(*arguments, **options)
        session.close()
        return link

    monkeypatch.setattr(socket, "create_connection", meanwhile)
    with pytest.raises(Gone, match="closed"):
        session.get(1, "never")


def test_nobody_gets_a_parcel_without_the_token(company):
    _, parcels, *_ = company
    stranger = Parcels(0, parcels[0]._addresses, "wrong", listening(0))
    parcels[1].open().put("a", b"secret")
    with pytest.raises(Gone):
        stranger.open().get(1, "a")
    stranger.close()


def test_several_processes_are_evident_from_the_environment():
    slurm = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}
    assert evident(slurm) == "Slurm (4 processes)"
    assert evident({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None, "the batch script itself, not a step of it"
    assert evident({"OMPI_COMM_WORLD_SIZE": "2"}) == "Open MPI (2 processes)"
    assert evident({"OMPI_COMM_WORLD_SIZE": "1"}) is None
    assert evident({"TPU_WORKER_HOSTNAMES": "a,b"}) == "cloud TPU (2 hosts)"
    assert evident({"TPU_WORKER_HOSTNAMES": "localhost"}) is None
    assert evident({}) is None
