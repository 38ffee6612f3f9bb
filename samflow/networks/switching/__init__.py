"""What happens to a checkpoint when a rule, or an attack, is switched on late."""

from samflow.networks.switching.late_switch import late_switch
from samflow.networks.switching.records import LateSwitch, SwitchPhase, SwitchSweep
from samflow.networks.switching.sweep import sweep_switch

__all__ = ["LateSwitch", "SwitchPhase", "SwitchSweep", "late_switch", "sweep_switch"]
