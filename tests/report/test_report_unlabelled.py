"""Pictures of cells of which nobody knows the type, and of files and markers with odd names."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from moesimvae.evaluation.matching import named_clusters
from moesimvae.report import style
from moesimvae.report.figures import experts, latent_space

rng = np.random.default_rng(0)
CLUSTERS = np.repeat([-1, 0, 1, 2], 20)
NO_LABEL = np.full(80, "")
FORMULA = r"a$b^$c$ \frac$"  # what Matplotlib would refuse to read as a formula


def texts(figure):
    return [t.get_text() for t in figure.findobj(mpl.text.Text)]


def test_without_labels_the_latent_space_has_one_panel_with_a_colour_for_each_cluster():
    figure = latent_space.draw(rng.normal(size=(80, 2)), NO_LABEL, CLUSTERS, "Cells")
    (panel,) = figure.axes
    assert panel.get_title() == "Cluster (3 found)"
    drawn = [points for points in panel.collections if len(points.get_offsets())]
    colours = np.concatenate([points.get_facecolors() for points in drawn])
    assert len(np.unique(colours, axis=0)) == 4
    assert "True label" not in texts(figure)


def test_without_labels_clusters_have_no_population_and_experts_no_panel_of_labels():
    names = named_clusters(NO_LABEL, CLUSTERS)
    assert names == {0: ("", False), 1: ("", False), 2: ("", False)}
    table = pd.DataFrame(rng.normal(size=(60, 4)), columns=["x", "y", "decoded_x", "decoded_y"])
    table["expert"] = np.repeat([0, 1, 2], 20)
    table.attrs = {"explained": (0.5, 0.2), "experts": 3}
    for truth, shown in ((np.full(60, ""), 4), (np.repeat(["a", "b", ""], 20), 5)):
        figure = experts.draw(table, truth, names, "Cells")
        assert sum(panel.get_visible() for panel in figure.axes) == shown


def test_a_dollar_in_a_name_is_no_formula_and_numbers_on_log_axes_are_plain(tmp_path):
    @style.styled
    def draw():
        figure = Figure((3, 3), layout="constrained")
        panel = figure.subplots()
        panel.set(title=FORMULA)
        panel.plot([1, 1000], [0, 1])
        panel.set_yticks([0, 1], [FORMULA, "CD3"])
        style.log_axis(panel)
        return figure

    figure = draw()
    style.write([style.Picture("a", "d", "t", "c", "alt", figure)], tmp_path)
    assert (tmp_path / "a.png").stat().st_size > 1000
    panel = figure.axes[0]
    low, high = panel.get_xlim()
    shown = [t.get_text() for t in panel.get_xticklabels() if low <= t.get_position()[0] <= high]
    assert shown == ["1", "10", "100", "1,000"]
    assert not any(label.get_parse_math() for label in [*panel.get_yticklabels(), panel.title])
