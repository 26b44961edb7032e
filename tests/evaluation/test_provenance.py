"""What made runs: machines with their packages, and parameters."""

from moesimvae.evaluation import provenance
from moesimvae.nouns import Status


def status(cpu="Xeon", version="1", **packages):
    return Status(machine={"cpu": cpu}, version=version, packages=packages)


def test_runs_whose_packages_do_not_contradict_each_other_share_an_environment():
    found, of_run = provenance.environments(
        {
            "a": status(numpy="2.0"),
            "b": status(numpy="2.0", torch="2.13"),
            "c": status(torch="2.12"),
            "d": status(cpu="Epyc", numpy="2.0"),
            "e": status(version="2", numpy="2.0"),
            "control": Status(),
        }
    )
    assert of_run == {"a": 1, "b": 1, "c": 2, "d": 3, "e": 4}
    assert found[0].packages == {"numpy": "2.0", "torch": "2.13"}
    assert [where.runs for where in found] == [2, 1, 1, 1]


def test_parameters_that_differ_stand_apart_with_how_many_runs_had_them():
    same, differ = provenance.parameters([{"k": 5, "lr": 0.1}, {"k": 5, "lr": 0.2}, {"k": 5}])
    assert same == {"k": 5}
    assert differ == {"lr": [("0.1", 1), ("0.2", 1), ("not known", 1)]}
