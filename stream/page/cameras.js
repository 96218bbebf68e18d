// Keeps the pictures of all cameras fresh. Not as streams: a browser has six connections to one server.
const REST_MS = 200; // from one picture to the next
const AGAIN_MS = 2000; // where none came

for (const figure of document.querySelectorAll(".all figure")) follow(figure);

async function follow(figure) {
  const [image, notice] = [figure.querySelector("img"), figure.querySelector("figcaption")];
  const address = image.src;
  for (;;) {
    await visible();
    const fault = await renew(image, address);
    if (notice.textContent !== fault) notice.textContent = fault; // else it would be read out again
    figure.classList.toggle("stale", fault !== "");
    await new Promise((rested) => setTimeout(rested, fault ? AGAIN_MS : REST_MS));
  }
}

/** Why there is no new picture; empty if there is. */
async function renew(image, address) {
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(10000) });
    if (!response.ok) return (await response.json()).error;
    const before = image.src;
    image.src = URL.createObjectURL(await response.blob());
    await image.decode();
    if (before.startsWith("blob:")) URL.revokeObjectURL(before);
    return "";
  } catch {
    return "no answer";
  }
}

function visible() {
  if (!document.hidden) return undefined;
  return new Promise((shown) => document.addEventListener("visibilitychange", shown, { once: true }));
}

const here = new URL(location.href);
if (here.searchParams.has("token")) { // a cookie has it now; the address bar is seen and passed on
  here.searchParams.delete("token");
  history.replaceState(null, "", here);
}
