"""Random faults in what a machine stores: registers, buffers, what controls it.

`experiment` is the campaign: start there. `population` has all the bits that can be hit, each for
as long as it stands there (`machine_time` for buffers); `outcomes` names what came of a fault.
"""
