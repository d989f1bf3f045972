"""A person in a browser, as far as a test can be one: answers the pairs of the page of ``jaxrl label`` over HTTP."""

import http.client
import json
import re
from urllib.parse import quote, urlsplit

KEYS = ("first", "second", "equal", "skip")


class Browser:
    """Opens the page at an address and answers as a rater."""

    def __init__(self, address: str, rater: str = "ada"):
        self._host, self._path, self.rater = urlsplit(address).netloc, urlsplit(address).path, rater

    def request(self, method="GET", name="", body=None, **headers):
        """Returns the status and the text of a reply."""
        connection = http.client.HTTPConnection(self._host, timeout=20)
        connection.request(method, self._path + name, body, headers)
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply.status, text

    def post(self, name, message):
        body = message if isinstance(message, str) else json.dumps(message)
        return self.request("POST", name, body, **{"Content-Type": "application/json"})

    def data(self):
        """Returns what the page knows."""
        status, page = self.request()
        assert status == 200
        return read_page(page)

    def given(self):
        """Returns the answers that the server has of this rater."""
        status, text = self.request(name=f"answers?rater={quote(self.rater)}")
        assert status == 200, text
        return json.loads(text)

    def answer(self, most=None, choose=lambda place: KEYS[place % 4]):
        """Answers the first pairs that have no answer yet, in order; returns how many."""
        given = self.given()
        left = [(place, pair) for place, pair in enumerate(self.data()["questions"]) if pair["query"] not in given][:most]
        for place, pair in left:
            status, text = self.post("answers", {**pair, "answer": choose(place), "rater": self.rater, "seconds": 1.5})
            assert status == 200, text
        return len(left)

    def finish(self):
        status, text = self.post("finish", {})
        assert status == 200
        return json.loads(text)["next"]


def read_page(page: str):
    """Returns the data in a page."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)
