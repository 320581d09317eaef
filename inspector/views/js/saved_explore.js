// The saved page of all heads as the Explore screen: everything that its message holds, and no server behind it.

import { explore } from "./explore.js";
import { byPlace, ownHost } from "./own_host.js";
import { drawInAnyTheme, openPage, rootOf, stored } from "./saved_page.js";

const page = openPage();
const root = rootOf({ ...page, styles: { explore: byPlace(page.styles.explore) } }, "explore");
const payload = stored("payload");
const host = ownHost(Math.max(560, Math.min(760, window.innerHeight - 60))); // nobody answers: all is here
drawInAnyTheme(() => explore(root, payload, host));
