"""Rules by formula: a small language of vectors, parsed and never evaluated as code.

`nodes` is the language, `parser` reads it, `evaluation` computes it, `critical` says what the text
tells about critical points, and `_formula` has the rules.
"""

from samflow.rules.formula._formula import FormulaRule, NormalisedFormulaRule, formula_rule
from samflow.rules.formula.parser import Formula, read_formula

__all__ = ["Formula", "FormulaRule", "NormalisedFormulaRule", "formula_rule", "read_formula"]
