"""Figures of games: panels of phase portraits."""

import numpy as np

from jaxrl.report import game_figures


def test_a_phase_portrait_has_a_panel_for_each_game(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(game_figures, "save_figure", lambda run, name, figure, text: drawn.append(figure))
    paths = {name: np.random.default_rng(0).uniform(size=(3, 5, 2)) for name in ("first", "second", "third", "fourth")}
    equilibria = dict.fromkeys(paths, (((1, 0), (0.25, 0.75)),))
    game_figures.phase_portraits(run, "portraits", paths, equilibria, title="Four games", text="A caption.")
    panels = [panel for panel in drawn[0].axes if panel.get_visible()]
    assert [panel.get_title() for panel in panels] == list(paths)
    for panel, moves in zip(panels, paths.values(), strict=True):
        np.testing.assert_allclose(panel.collections[0].get_offsets(), moves[:, -1])  # where paths end
        np.testing.assert_allclose(panel.collections[1].get_offsets(), [(1, 0.25)])  # the equilibrium
