"""What code a method comes to run, and what of it counts."""

from moesimvae import closure


def names(module):
    found = closure.files_of([module])
    return {path.relative_to(closure.PACKAGE).as_posix() for path in found}


def test_a_method_reaches_what_it_imports_and_no_more():
    moe = names("moesimvae.methods.moe_sim_vae")
    assert {"model/losses.py", "model/similarity.py", "__init__.py"} <= moe
    kmeans = names("moesimvae.methods.kmeans")
    assert "methods/kmeans.py" in kmeans
    assert not {"model/losses.py", "model/estimator.py"} & kmeans
    for module in (moe, kmeans):
        assert not {path for path in module if path.startswith(("report/", "evaluation/"))}


def test_meaning_counts_and_words_do_not(tmp_path):
    def code(text):
        path = tmp_path / "a.py"
        path.write_text(text)
        return closure.code_sha256([path])

    first = code("def f(x):\n    return x + 1\n")
    assert code('"""Words."""\n\n\ndef f(x):\n    """More."""\n    return x + 1  # one') == first
    assert code("def f(x):\n    return x + 2\n") != first
    assert closure.code_sha256([tmp_path / "a.py"], "ab") != closure.code_sha256(
        [tmp_path / "a.py"]
    )


def test_imports_for_type_checkers_and_optional_ones_do_not_count(tmp_path):
    path = tmp_path / "a.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "try:\n    import pynvml\nexcept ImportError:\n    pynvml = None\n"
        "def f():\n    import numpy.linalg\n    from moesimvae.model import losses\n"
    )
    found = set(closure.imports(path))
    assert {"typing", "numpy.linalg", "moesimvae.model.losses"} <= found
    assert not {"torch", "pynvml"} & found
    assert closure.PACKAGE / "model/losses.py" in closure.files_of([path])
