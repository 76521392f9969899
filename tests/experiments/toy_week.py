"""A week whose arms take no time: what they measure, and how they fail, is set by environment variables."""

import os
import time

from tinyvlm.experiments.claims import Claim

CLAIMS = (
    Claim(
        "better", "headline", "The method beats its baseline.", "score", ("method", "baseline"),
        lambda arms: arms["method"]["score"] - arms["baseline"]["score"],
    ),
    Claim(
        "worse", "direction", "The broken arm is far above the baseline.", "gap", ("broken", "baseline"),
        lambda arms: arms["broken"]["score"] - arms["baseline"]["score"], margin=1.0,
        value=lambda metrics: 100 * metrics["score"],
    ),
)  # fmt: skip

SCORES = {
    "baseline": (0.5, 0.5, 0.5, 0.5, 0.5),
    "broken": (0.4, 0.4, 0.41, 0.4, 0.4),
    "steady": (0.9, 0.91, 0.9, 0.9, 0.9),
    "shaky": (0.9, 0.45, 0.6, 0.9, 0.6),
}


def run_arm(arm, seed, preset, progress=None):
    """Scores of `arm`; the method's are steady or shaky, and it may raise or wait."""
    if progress:
        progress(1, 2)
    if os.environ.get("TOY_FAIL") == f"{arm} {seed}":
        raise ArithmeticError("the towers fell")
    if os.environ.get("TOY_WAIT") == f"{arm} {seed}":
        time.sleep(60)
    name = os.environ.get("TOY_METHOD", "steady") if arm == "method" else arm
    return {"score": SCORES[name][seed]}


def canary():
    """Twenty numbers that an edit of the code would change."""
    return [float(os.environ.get("TOY_CANARY", "1.0"))] * 20
