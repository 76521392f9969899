"""What "better" means: pure functions of scores and answers. They know no model and no data set.

A benchmark is a data set, a split, a set of candidates and a rule that makes many answers one number; most
disagreements between papers are about the last two, so every function here says its rule.

| task | functions |
|---|---|
| classification | `accuracy`, `top_k_accuracy`, `mean_per_class_accuracy` |
| retrieval | `recall_at_k`, `ranks` |
| captions | `bleu`, `rouge_l`, `cider_d`, `caption_words`; with a model's vectors `clip_score`, `ref_clip_score` |
| questions, statements | `vqa_accuracy`, `vqa_score`, `normalise_answer`; `pair_accuracy`, `entailment_accuracy` |
| yes or no | `roc_auc`, `average_precision`, `mean_average_precision` |
| boxes, regions | `grounding_accuracy`, `box_iou`, `box_average_precision`; `mean_iou` and its parts |
| single changes | `forced_choice`, `contrast_table` |
| trust | `bootstrap_interval` |

METEOR and SPICE are left out. Their published values come from one Java program each, and neither is a formula that
could be written again: METEOR 1.5 aligns words with a stemmer, WordNet and a table of paraphrases of hundreds of
megabytes, SPICE parses captions into scene graphs with a trained parser. Other METEORs use other constants and give
other numbers under the same name, which is worse than none.
"""

from tinyvlm.metrics.bleu import Bleu, bleu
from tinyvlm.metrics.boxes import box_iou, grounding_accuracy
from tinyvlm.metrics.cider import cider_d
from tinyvlm.metrics.classification import accuracy, mean_per_class_accuracy, top_k_accuracy
from tinyvlm.metrics.clipscore import clip_score, ref_clip_score
from tinyvlm.metrics.contrasts import Contrast, ContrastTable, contrast_table, forced_choice
from tinyvlm.metrics.detection import BoxAP, DetectedBoxes, TrueBoxes, box_average_precision
from tinyvlm.metrics.intervals import Interval, bootstrap_interval
from tinyvlm.metrics.pairs import ENTAILMENT, PairAccuracy, entailment_accuracy, pair_accuracy
from tinyvlm.metrics.ranking import average_precision, mean_average_precision, roc_auc
from tinyvlm.metrics.retrieval import Recall, ranks, recall_at_k
from tinyvlm.metrics.rouge import rouge_l
from tinyvlm.metrics.segmentation import class_iou, confusion_matrix, mean_class_iou, mean_iou
from tinyvlm.metrics.text import CaptionScores, caption_words
from tinyvlm.metrics.vqa import normalise_answer, vqa_accuracy, vqa_score

__all__ = [
    "ENTAILMENT",
    "Bleu",
    "BoxAP",
    "CaptionScores",
    "Contrast",
    "ContrastTable",
    "DetectedBoxes",
    "Interval",
    "PairAccuracy",
    "Recall",
    "TrueBoxes",
    "accuracy",
    "average_precision",
    "bleu",
    "bootstrap_interval",
    "box_average_precision",
    "box_iou",
    "caption_words",
    "cider_d",
    "class_iou",
    "clip_score",
    "confusion_matrix",
    "contrast_table",
    "entailment_accuracy",
    "forced_choice",
    "grounding_accuracy",
    "mean_average_precision",
    "mean_class_iou",
    "mean_iou",
    "mean_per_class_accuracy",
    "normalise_answer",
    "pair_accuracy",
    "ranks",
    "recall_at_k",
    "ref_clip_score",
    "roc_auc",
    "rouge_l",
    "top_k_accuracy",
    "vqa_accuracy",
    "vqa_score",
]
