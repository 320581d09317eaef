// A whole page of HTML in a frame of its own: it may run scripts, and reaches neither the app nor any host.
// In: the payload of frame.py. Out: nothing.

const shown = new WeakMap(); // frame -> the page in it: this function runs again for every change of data or theme

export default function (component) {
  const frame = component.parentElement.querySelector("iframe");
  const { header, body } = decode(component.data);
  // The page says its theme once, in its first element, in front of any token.
  const theme = readTheme(frame).dark ? "dark" : "light";
  const page = new TextDecoder().decode(body).replace(/data-theme="\w+"/, `data-theme="${theme}"`);
  if (shown.get(frame) !== page) {
    shown.set(frame, page);
    frame.title = header.title;
    frame.style.height = `${header.height}px`;
    frame.style.maxWidth = `${header.width}px`;
    frame.srcdoc = page;
  }
  // All that the page can tell us is how high it is at the width it has.
  const listen = (event) => {
    const height = event.source === frame.contentWindow && event.data && event.data.bertviz_height;
    if (Number.isFinite(height)) frame.style.height = `${Math.max(100, Math.min(height, 20000))}px`;
  };
  window.removeEventListener("message", listening.get(frame));
  window.addEventListener("message", listen);
  listening.set(frame, listen);
  return () => window.removeEventListener("message", listening.get(frame));
}

const listening = new WeakMap(); // frame -> its listener
