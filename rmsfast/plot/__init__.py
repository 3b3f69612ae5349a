"""Pictures of minimizations; they need matplotlib, which is imported when one is drawn.

Colours are told apart by colour-blind readers, and lines also by their dashes and markers, so that
a picture printed in grey can be read. Nothing is shown and no backend is chosen: that is left to
``matplotlib.pyplot.show()`` or ``ax.figure.savefig(...)``.
"""

from rmsfast.plot.curves import *  # the parts follow
