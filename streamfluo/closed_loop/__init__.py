"""Floor 2: closed loops: what is decided by values, within the frame. It may import core.

trigger            the operator `trigger`
input_values       the operator `input`: other streams as values of frames
decode             the operator `decode`: from activity to behaviour
earlier_decoder    what a decoder learned in an earlier session
kalman             the operator `kalman`: the same by a Kalman filter     linear_gaussian    its model and filter
recent_r2          how well a signal was predicted lately
tuning             the operator `tuning`: mean response by stimulus
activity           cells that come one after the other, in columns that stay
condition          the language of its conditions      condition_nodes    what they are made of
                   condition_over_frames    those that look at several frames
followed_id        the ids in it, where components are merged
"""

from . import decode, input_values, kalman, trigger, tuning

__all__ = ["decode", "input_values", "kalman", "trigger", "tuning"]
