// The saved page of one head: its map.

import { heatmap } from "./heatmap.js";
import { drawInAnyTheme, openPage, rootOf, stored } from "./saved_page.js";

const root = rootOf(openPage(), "heatmap");
const payload = stored("payload");
drawInAnyTheme(() => heatmap(root, payload));
