"""Everything the command line does, as functions: train, finetune, evaluate, predict.

result = equipot.train("run.yaml")
errors = equipot.evaluate("model.eqp", "test.xyz").metrics
"""

from __future__ import annotations

from equipot.workflow.evaluation import EvaluationResult, evaluate, predict
from equipot.workflow.finetuning import finetune
from equipot.workflow.training import TrainResult, train

__all__ = ["EvaluationResult", "TrainResult", "evaluate", "finetune", "predict", "train"]
