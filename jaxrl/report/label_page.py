"""The page on which people answer: one HTML file with films, styles and script inside, and nothing from elsewhere.

With a server it sends every answer at once; without one it keeps them in the browser and saves them as a file. Texts from
files are data to it and never markup: they stand in a block that is not executed, and a policy in the page lets the one
script run that has its hash.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from jaxrl.results.questions import Film, Question

STYLE, SCRIPT = (Path(__file__).with_name(f"label.{kind}") for kind in ("css", "js"))
SECONDS_PER_STEP = 0.35
ASKS = "Which of the two is better?"
BUTTONS = (("first", "←", "Left"), ("equal", "=", "Equal"), ("second", "→", "Right"), ("skip", "s", "Skip"))


def label_page(
    title: str,
    questions: Sequence[Question],
    films: Mapping[str, Film],
    asks: str = ASKS,
    rater: str = "",
    server: bool = True,
) -> str:
    """Returns the page.

    Args:
        title: what is asked about, for example the name of the run.
        questions: the pairs, in the order in which they are shown.
        films: of all their segments, by name.
        asks: what a person is to judge.
        rater: who answers; the page asks for the name if it is empty.
        server: whether answers are sent to where the page comes from.
    """
    data = _data(title, questions, films, rater, server)
    style, script = STYLE.read_text(), SCRIPT.read_text()
    source = "'self'" if server else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        f"connect-src {source}; base-uri 'none'; form-action 'none'"
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{escape(title)}: labels</title>
<style>{style}</style>
</head>
<body>
{_body(asks)}<script type="application/json" id="data">{_inside_a_script(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def _data(title: str, questions: Sequence[Question], films: Mapping[str, Film], rater: str, server: bool) -> dict[str, object]:
    """Returns everything that the script of the page knows."""
    known: dict[bytes, int] = {}  # a picture that is shown often is there once
    shown = {name for question in questions for name in (question.first, question.second)}
    segments = {
        name: {
            "frames": [known.setdefault(picture, len(known)) for picture in films[name].pictures],
            "numbers": {column: [_number(value) for value in values.tolist()] for column, values in films[name].numbers.items()},
        }
        for name in films
        if name in shown
    }
    pairs = [{"query": each.query, "first": each.first, "second": each.second} for each in questions]
    return {
        "key": hashlib.sha256(json.dumps([title, pairs]).encode()).hexdigest()[:16],
        "server": server,
        "rater": rater,
        "seconds_per_step": SECONDS_PER_STEP,
        "pictures": [base64.b64encode(picture).decode() for picture in known],
        "segments": segments,
        "questions": pairs,
    }


def _body(asks: str) -> str:
    """Returns what is on the page; the script fills it."""
    films_ = "".join(
        f'<button class="film" id="{side}" data-answer="{side}" type="button" aria-label="{word} is better">'
        f'<canvas width="420" height="300"></canvas><div class="time"><span></span></div>'
        f'<span class="soft number">{word}, <span class="step"></span></span></button>'
        for side, _, word in (BUTTONS[0], BUTTONS[2])
    )
    buttons = "".join(
        f'<button type="button" data-answer="{answer}"><kbd>{key}</kbd>{word}</button>' for answer, key, word in BUTTONS
    )
    return f"""<main>
<noscript><p class="lost">This page needs JavaScript.</p></noscript>
<header><h1>{escape(asks)}</h1><p class="number" id="where"></p></header>
<form id="name" class="card" hidden>
<p><label for="rater">Your name, under which your answers are kept:</label></p>
<input id="rater" autocomplete="name" maxlength="40"> <button class="main" type="submit">Begin</button>
<p class="lost" id="problem" role="alert"></p>
</form>
<div id="head" hidden><progress id="progress" value="0"></progress></div>
<p class="lost" id="lost" role="alert" hidden></p>
<div id="pair" hidden>
<div class="films">{films_}</div>
<div class="answers">{buttons}<button type="button" id="back"><kbd>u</kbd>Back</button></div>
<p class="centre soft" id="last" aria-live="polite"></p>
<p class="centre soft">The two play in step, over and over. <kbd>space</kbd>holds them.</p>
</div>
<div id="end" class="card" hidden>
<p id="result"></p>
<p id="saved"></p>
<p id="then" hidden>Next: <code id="command"></code></p>
<p class="answers"><button type="button" class="main" id="finish">Finish</button>
<button type="button" id="again"><kbd>u</kbd>Back to the last pair</button></p>
</div>
<p class="centre"><button type="button" id="save" hidden>Save the answers so far</button></p>
<p class="soft centre"><span id="who"></span></p>
</main>
"""


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _inside_a_script(data: object) -> str:
    """Returns JSON in which no character can end the element that it stands in."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
