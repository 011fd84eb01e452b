"""The KFP component of the vote step."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def vote(
    tables: Input[list[Dataset]],
    table: Output[Dataset],
    metrics: Output[Metrics],
    mode: str = "hard",
) -> None:
    """Vote over the results of several models, joined on the ids of the pictures.

    Args:
        tables: CSV files with ImageID and ans, predictions of classifiers, or for soft also ImageID with the
            probabilities of 3 mask, 2 gender and 3 age classes in this order, or m_out_0..2, g_out and a_out_0..2.
        table: CSV with ImageID and ans, in the order of the first table; hard adds the number of votes, soft the mean
            probabilities.
        metrics: Rows, those that all tables agree on, and ties.
        mode: hard takes the class that most tables give, of equally many the one that an earlier table gives; soft the
            class of the mean probabilities.
    """
    from pathlib import Path

    from components.shared.metrics.step import log_metrics
    from components.vote.vote import vote

    report = vote([Path(one.path) for one in tables], Path(table.path), mode=mode)
    log_metrics(metrics, {"rows": report.rows, "unanimous": report.unanimous, "ties": report.ties})
