"""Pictures of minimizations; they need matplotlib, which is imported when one is drawn.

Colours are told apart by colour-blind readers, and lines also by their dashes and markers, so that
a picture printed in grey can be read. Nothing is shown and no backend is chosen: that is left to
``matplotlib.pyplot.show()`` or ``ax.figure.savefig(...)``.
"""

from rmsfast.plot.curves import convergence, data_profile, learning_curve

# What pictures beside these draw with, too
from rmsfast.plot.look import COLORS as COLORS
from rmsfast.plot.look import DASHES as DASHES
from rmsfast.plot.look import GREYS as GREYS
from rmsfast.plot.look import WIDTH as WIDTH
from rmsfast.plot.look import group_colors as group_colors
from rmsfast.plot.look import label_ends as label_ends
from rmsfast.plot.look import new_axes as new_axes
from rmsfast.plot.look import open_frame as open_frame
from rmsfast.plot.look import style as style
from rmsfast.plot.plane import animate, contours, trajectory

__all__ = ["animate", "contours", "convergence", "data_profile", "learning_curve", "trajectory"]
