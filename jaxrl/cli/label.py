"""``jaxrl label``: a small server of this machine alone, on whose page people answer the questions of a run.

It listens on 127.0.0.1, under an address that cannot be guessed, and refuses other hosts, other origins and long messages. Every
answer is on the disk before it is confirmed.
"""

import hmac
import itertools
import json
import os
import random
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

import tyro
from tyro.conf import Positional

from jaxrl.cli.execute import PROGRAM, Storage
from jaxrl.errors import ConfigError, DataError, JaxrlError, ResultsError, require
from jaxrl.experiment.runs import find
from jaxrl.experiment.session import say
from jaxrl.report.label_page import ASKS, label_page
from jaxrl.results import questions
from jaxrl.results.finding import expanded
from jaxrl.results.questions import Answer, Film, Question
from jaxrl.results.storage import replacing

LARGEST_MESSAGE = 16 * 2**10  # bytes that a page may send at once
LARGEST_READ = 2**20  # bytes of a longer message that are read before it is refused
ADDRESS, SECRET = ".address.json", re.compile(r"[\w-]{20,40}", re.ASCII)  # of the last server, for this user alone
SECONDS_PER_REQUEST = 30  # until a connection that says nothing is closed


@dataclass(frozen=True)
class Label(Storage):
    """Answer the questions that a run waits for: a page in your browser, kept by a server of this machine alone."""

    run: Positional[str] = ""
    """Folder of the run, or an experiment, named as for ``run``, for its newest run; or a Parquet file of segments."""
    rater: str = ""
    """Your name; by default the page asks for it."""
    port: int = 0
    """Port of the server, by default that of the last time, or one that is free."""
    question: str = ASKS
    """The question to a person, shown above every pair."""
    page: Path | None = None
    """Write the page into this HTML file instead, for somebody without jaxrl, and end."""
    read: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """Take over the answers that such a page saved into this file, and end. Give it again for another file."""
    pairs: int = 20
    """Of a Parquet file of segments: how many pairs are asked at most (count), drawn at random, always the same."""


@dataclass(frozen=True)
class Asked:
    """The questions to people.

    title: of the page. labels: folder of the answers. open: the questions that wait. known: all that an answer may be to.
    films: of the segments of the open ones. next: what the user does once all is answered.
    """

    title: str
    labels: Path
    open: dict[str, Question]
    known: dict[str, Question]
    films: dict[str, Film]
    next: str

    def answers(self) -> dict[str, dict[str, Answer]]:
        """Returns the answers so far; see ``questions.read_answers``."""
        return questions.read_answers(self.labels, self.known)


def label(options: Label) -> int:
    """Does what the command was asked for and returns the exit status."""
    where = f"{PROGRAM} label"
    fix = f"See {PROGRAM} label --help."
    require(bool(options.run), where, "a run or a file of segments must be named", options.run, fix)
    require(0 <= options.port < 2**16, where, "--port must lie in [0, 65535]", options.port, "Leave it out for a free one.")
    must, fix = "--rater must be 1 to 40 letters, digits, spaces, or any of . _ -", "Leave it out, and the page asks."
    require(not options.rater or bool(questions.RATER.fullmatch(options.rater)), where, must, options.rater, fix)
    path = expanded(options.run)
    of_file = path.suffix.lower() == ".parquet" and path.is_file()
    asked = _of_file(path, options) if of_file else _of_run(options)
    if options.read:
        return _take_over(asked, options.read)
    require(bool(asked.open), where, "the run must wait for answers", f"{asked.title}, finished", "Start another run.")
    if options.page is not None:
        with replacing(expanded(options.page)) as file:
            file.write(_page(asked, options, server=False).encode())
        print(options.page)
        more = f" --pairs {options.pairs}" if of_file else ""
        say(f"send it to those who answer; the files that they save are read by {PROGRAM} label {options.run}{more} --read FILE")
        return 0
    return _serve(asked, options)


def _of_run(options: Label) -> Asked:
    directory = find(options.runs, options.run)
    known = {query: question for query, (question, _) in questions.read(directory.path).items()}
    fix = "Run an experiment that asks people, such as own_answers --answers people."
    must = "the run must have asked something"
    require(bool(known), f"{PROGRAM} label", must, str(directory.path), fix, ResultsError)
    waiting = {} if directory.finished else questions.read(directory.path, open_only=True)
    films: dict[str, Film] = {}
    for path in dict.fromkeys(path for _, path in waiting.values()):
        films |= questions.films(path)
    open_ = {query: question for query, (question, _) in waiting.items()}
    missing = sorted({name for each in open_.values() for name in each[1:3]} - films.keys())
    must, fix = "every segment of a question must be there", "Restore the folder questions from a copy."
    require(not missing, f"questions of {directory.path}", must, missing[:3], fix, DataError)
    title = f"{directory.experiment} {directory.path.name}"
    return Asked(title, directory.path / "labels", open_, known, films, f"{PROGRAM} resume {directory.path}")


def _of_file(path: Path, options: Label) -> Asked:
    where = f"{PROGRAM} label {path}"
    films = questions.films(path)
    require(options.pairs >= 1, where, "--pairs must be at least 1", options.pairs, "Try --pairs 20.")
    require(len(films) >= 2, where, "there must be at least two segments", len(films), "Add segments.", DataError)
    pairs = list(itertools.islice(_pairs(list(films)), options.pairs))
    asked = {f"pair-{place}": Question(f"pair-{place}", *pair) for place, pair in enumerate(pairs)}
    labels = path.with_name(f"{path.stem}-labels")
    return Asked(path.name, labels, asked, asked, films, f"jaxrl.algorithms.preferences.labels.read, of the files in {labels}")


def _pairs(names: list[str]) -> Iterator[tuple[str, str]]:
    """Yields different pairs of segments in a random order, always the same, whichever side first."""
    draw, count, seen = random.Random(0), len(names), set()
    while len(seen) < count * (count - 1) // 2:
        first, second = draw.sample(range(count), 2)
        if (pair := frozenset((first, second))) not in seen:
            seen.add(pair)
            yield names[first], names[second]


def _page(asked: Asked, options: Label, server: bool) -> str:
    return label_page(asked.title, list(asked.open.values()), asked.films, options.question, options.rater, server)


def _take_over(asked: Asked, files: tuple[Path, ...]) -> int:
    """Adds the answers in files, after all of them were checked."""
    found: dict[str, list[Answer]] = {}
    for path in map(expanded, files):
        where = f"answers {path.name}"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DataError(f"{where}: the file must be readable, got {str(error)!r}. Check the path and the file.") from error
        rows = questions.checked(questions.parsed(text, where), asked.known, where)
        require(bool(rows), where, "there must be an answer", 0, "Save the answers on the page again.", DataError)
        for answer in rows:
            found.setdefault(answer.rater, []).append(answer)
    for rater, answers in found.items():
        questions.append(asked.labels, answers)
        say(f"{len(answers)} answers of {rater} were added to {asked.labels / f'{rater}.jsonl'}")
    _tell(asked)
    return 0


def _tell(asked: Asked) -> None:
    """Says what is still missing, or how to go on."""
    if not asked.open:  # the run is finished
        return
    lacking = questions.missing(asked.open, asked.answers())
    if lacking:
        say(f"{lacking} answer{'s are' if lacking > 1 else ' is'} missing of {len(asked.open)} pairs: {PROGRAM} label again")
    else:
        say(f"all {len(asked.open)} pairs are answered; go on: {asked.next}")


def _serve(asked: Asked, options: Label) -> int:
    asked.answers()  # says what is wrong with the files before anybody answers
    try:
        server = Server(asked, options)
    except OSError as error:
        must, fix = f"port {options.port} must be free", "Leave --port out for a free one."
        raise ConfigError(f"{PROGRAM} label: {must}, got {error.strerror!r}. {fix}") from error
    with server:
        print(server.address, flush=True)
        say("open this address in a browser; answers are kept as they come, and Ctrl-C ends it at any time")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            sys.stderr.write("\n")
    _tell(asked)
    return 0


def _address(labels: Path) -> tuple[int, str]:
    """Returns port and secret of the last server of these answers, so that a page that is still open finds the next one."""
    try:
        known = json.loads((labels / ADDRESS).read_bytes())
        port, token = known["port"], known["token"]
        if isinstance(port, int) and 0 < port < 2**16 and isinstance(token, str) and SECRET.fullmatch(token):
            return port, token
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return 0, secrets.token_urlsafe(16)


class Server(ThreadingHTTPServer):
    """Serves the page and takes answers.

    address: of the page.
    """

    daemon_threads = True

    def __init__(self, asked: Asked, options: Label):
        """asked: what is asked. options: of the command."""
        port, self.token = _address(asked.labels)
        try:
            super().__init__(("127.0.0.1", options.port or port), _Handler)
        except OSError:
            if options.port or not port:
                raise
            super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = asked
        self.page = _page(asked, options, server=True).encode()
        self.lock = threading.Lock()
        port = self.server_address[1]
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self.address = f"http://127.0.0.1:{port}/{self.token}/"
        with replacing(asked.labels / ADDRESS) as file:
            os.chmod(file.name, 0o600)
            file.write(json.dumps({"port": port, "token": self.token}).encode())

    def take(self, row: Any) -> None:
        """Writes an answer to the disk. Raises DataError if it is none."""
        answers = questions.checked([(1, row)], self.asked.open, "answer")
        with self.lock:
            questions.append(self.asked.labels, answers)

    def given(self, rater: str) -> dict[str, str]:
        """Returns the answers of a rater to the open questions, query -> word."""
        with self.lock:
            of_rater = self.asked.answers().get(rater, {})
        return {query: answer.answer for query, answer in of_rater.items() if query in self.asked.open}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a page that went away in the middle of a message."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        """Ends the server a moment after its last reply."""

        def stop() -> None:
            time.sleep(0.3)
            self.shutdown()

        threading.Thread(target=stop, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = SECONDS_PER_REQUEST
    server_version, sys_version = "jaxrl", ""

    def do_GET(self) -> None:
        if (asked := self._asked()) is None:
            return
        name, query = asked
        if name == "":
            self._reply(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        elif name == "answers":
            self._answering(lambda: self.server.given(query.get("rater", [""])[0]))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        given = self.headers.get("Content-Length", "")
        length = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else None
        body = self.rfile.read(min(length or 0, LARGEST_READ))  # a reply to what was not read may be lost
        if (asked := self._asked()) is None:
            return None
        if self.headers.get_content_type() != "application/json":  # a form of another page cannot send it
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the message must be application/json")
        if length is None:
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "the message must say its length")
        if length > LARGEST_MESSAGE:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a message has at most {LARGEST_MESSAGE} bytes")
        if asked[0] == "finish":
            self._answering(lambda: {"next": self.server.asked.next})
            return self.server.end()
        if asked[0] != "answers":
            return self._refuse(HTTPStatus.NOT_FOUND, "no such page")
        try:
            row = json.loads(body)
        except (ValueError, RecursionError):
            return self._refuse(HTTPStatus.BAD_REQUEST, "the message must be JSON")
        return self._answering(lambda: self.server.take(row) or {})

    def _asked(self) -> tuple[str, Mapping[str, list[str]]] | None:
        """Returns what is asked for below the secret folder; None after a refusal."""
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        if host not in self.server.hosts:  # another name for this machine is that of somebody else's page
            self._refuse(HTTPStatus.FORBIDDEN, "this server answers as 127.0.0.1 alone")
        elif origin is not None and origin != f"http://{host}":
            self._refuse(HTTPStatus.FORBIDDEN, "this server answers its own page alone")
        else:
            path, _, query = self.path.partition("?")
            token, _, name = path.removeprefix("/").partition("/")
            if hmac.compare_digest(token.encode(), self.server.token.encode()):
                return name, parse_qs(query)
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")
        return None

    def _answering(self, make: Any) -> None:
        try:
            found = make()
        except DataError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except JaxrlError as error:  # the disk is full, say: the page keeps the answer and tries again
            say(f"error: {error}")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        else:
            self._reply(HTTPStatus.OK, json.dumps(found).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True
        self._reply(status, reason.encode(), "text/plain; charset=utf-8")

    def _reply(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the address with its token does not belong into a log."""
