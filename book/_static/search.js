// The search page. The index is made by pagefind while the site is built; its words are matched by their beginnings,
// so that 정렬 finds 정렬합니다.
const status = document.getElementById("search-status");
const list = document.getElementById("search-found");
// macOS hands over 거꾸로 as single letters (NFD); pages hold syllables (NFC).
const words = (new URLSearchParams(location.search).get("q") ?? "").trim().normalize("NFC");
const most = 20;

function entry(found) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = found.url;
  link.textContent = found.meta.title ?? found.url;
  const excerpt = document.createElement("p");
  excerpt.innerHTML = found.excerpt; // escaped by pagefind, apart from its own <mark>
  item.append(link, excerpt);
  return item;
}

// As pagefind compares: without case and accents, but with whole syllables.
function folded(text) {
  return text.normalize("NFD").replace(/[\u0300-\u036f]/g, "").normalize("NFC").toLowerCase();
}

// Where no word begins like the query, pagefind shortens the query until one does. Three letters have to remain.
function deserves(found) {
  const marked = [...found.excerpt.matchAll(/<mark>(.*?)<\/mark>/g)].map((match) => folded(match[1]));
  const begins = folded(words).split(/\s+/).map((word) => [...word].slice(0, 3).join(""));
  return marked.some((word) => begins.some((start) => word.replace(/^[^\p{L}\p{N}]+/u, "").startsWith(start)));
}

async function search() {
  for (const field of document.querySelectorAll('.course-search input[name="q"]')) field.value = words;
  if (!words) return;
  status.textContent = "Searching…";
  let pagefind;
  try {
    pagefind = await import(new URL("../pagefind/pagefind.js", import.meta.url));
    await pagefind.options({ baseUrl: new URL("..", import.meta.url).pathname });
    await pagefind.init();
  } catch {
    status.textContent = "Search works only when the site is served: run make serve and open the address it prints.";
    return;
  }
  const { results } = await pagefind.search(words);
  const pages = (await Promise.all(results.map((result) => result.data()))).filter(deserves);
  list.replaceChildren(...pages.slice(0, most).map(entry));
  const count = `${pages.length} ${pages.length === 1 ? "page" : "pages"}`;
  status.textContent = pages.length ? `${count} with “${words}”` : `No page with “${words}”. Try a shorter beginning.`;
}

search();
