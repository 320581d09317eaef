// The saved page of strips and bars.

import { drawInAnyTheme, openPage, rootOf, stored } from "./saved_page.js";
import { strips } from "./strips.js";

const root = rootOf(openPage(), "strips");
const payload = stored("payload");
drawInAnyTheme(() => strips(root, payload));
