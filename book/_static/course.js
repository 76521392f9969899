// Talks are asked of YouTube only when their poster is pressed. Without this script the plain link below it remains.
for (const talk of document.querySelectorAll(".talk[data-talk]")) {
  const poster = talk.querySelector(".talk-poster");
  poster.hidden = false;
  poster.addEventListener("click", () => {
    const frame = document.createElement("iframe");
    frame.src = `https://www.youtube-nocookie.com/embed/${talk.dataset.talk}?autoplay=1`;
    frame.title = talk.dataset.title;
    frame.allow = "autoplay; encrypted-media; fullscreen; picture-in-picture";
    frame.allowFullscreen = true;
    frame.className = "talk-frame";
    poster.replaceWith(frame);
    frame.focus();
  });
}
