"""A few passages of plain English, written for this project: the finder's natural text, the same on every machine."""

from __future__ import annotations

PASSAGES = (
    "The lighthouse stood at the end of a long stone pier, and every evening the keeper walked out to light "
    "the lamp. She carried oil, a box of matches, and a small notebook in which she wrote the weather. On "
    "calm days the walk took ten minutes; in a storm it could take an hour, with one hand always on the rope. "
    "Ships far out at sea turned by her light, and none of their captains knew her name. When the lamp was "
    'replaced by an electric one, the keeper was asked what she would miss. "The walk," she said. "Nobody '
    'needs me to walk there now, and the sea does not notice who turns the switch." She kept the notebook. '
    "Years later a scientist found it and learned from it how the wind had changed along that coast: a record "
    "of nine thousand evenings, written in pencil, by someone who had only wanted to remember what the sky "
    "looked like.\n",
    "Bread needs four things: flour, water, salt, and time. Mix the flour with most of the water and let it "
    "rest for half an hour; the dough will become smooth without any work. Add the salt and the rest of the "
    "water, then fold the dough over itself a few times. Cover it. After an hour fold it again, and after "
    "another hour once more. Overnight in a cold place it rises slowly and tastes better for it. In the "
    "morning heat the oven as hot as it goes, put a heavy pot inside, and wait until the pot is hot too. "
    "Shape the dough into a ball, lower it into the pot, and bake it under the lid for thirty minutes. Take "
    "off the lid; bake until the crust is dark. If the loaf sounds hollow when you knock on it, it is done. "
    "Let it cool before you cut it, although nobody ever does.\n",
    "A river does not run straight for long. Where the bank is soft, water carries a little of it away, and "
    "the bend grows; on the inside of the bend the water is slow, and drops the sand that it carries. So the "
    "curve moves across the valley, year after year, until two bends meet and the river takes the shorter "
    "way. The old loop is left behind as a lake shaped like a horn. Maps made a hundred years apart show the "
    "same river in different places, and villages that once stood on the water now stand among fields. "
    "Engineers have tried to hold rivers still with walls of stone. The walls work until the next great "
    "flood, and then the river shows where it wanted to go. It is cheaper, some towns have found, to give the "
    "river room: to build on the hills, to keep the meadows empty, and to let the water come and go.\n",
    "In 1958 a young engineer named Rosa Lindqvist was given a room with two hundred relays and told to make "
    "them add. The relays were left over from a telephone exchange. Each one clicked when it closed, so that "
    "a sum could be heard before it could be read: a short rattle for a small number, a long one for a large "
    "number. Lindqvist learned to find mistakes by ear. When a relay stuck, the rhythm broke, and she walked "
    "along the shelves until she found the silent one. Her colleagues bought a machine with valves, which was "
    "faster and made no sound at all. It also failed without a sound. For two years both machines ran side by "
    'side, and on Fridays the results were compared. "The new machine is never wrong," the director wrote in '
    'his report. In the margin, in another hand, stands: "How would you know?"\n',
)
