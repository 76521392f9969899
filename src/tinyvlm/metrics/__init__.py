"""What "better" means: pure functions of scores and answers. They know no model and no data set."""

from tinyvlm.metrics.classification import accuracy, mean_per_class_accuracy, top_k_accuracy
from tinyvlm.metrics.contrasts import Contrast, ContrastTable, contrast_table, forced_choice
from tinyvlm.metrics.intervals import Interval, bootstrap_interval
from tinyvlm.metrics.retrieval import Recall, ranks, recall_at_k

__all__ = [
    "Contrast",
    "ContrastTable",
    "Interval",
    "Recall",
    "accuracy",
    "bootstrap_interval",
    "contrast_table",
    "forced_choice",
    "mean_per_class_accuracy",
    "ranks",
    "recall_at_k",
    "top_k_accuracy",
]
