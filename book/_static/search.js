// The search page. The index is made by pagefind while the site is built; its words are matched by their beginnings,
// so that 정렬 finds 정렬합니다.
const status = document.getElementById("search-status");
const list = document.getElementById("search-found");
const words = new URLSearchParams(location.search).get("q")?.trim() ?? "";
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

async function search() {
  for (const field of document.querySelectorAll('.course-search input[name="q"]')) field.value = words;
  if (!words) return;
  status.textContent = "Searching…";
  let pagefind;
  try {
    pagefind = await import(new URL("../pagefind/pagefind.js", import.meta.url));
    await pagefind.init();
  } catch {
    status.textContent = "Search works only when the site is served: run make serve and open the address it prints.";
    return;
  }
  const { results } = await pagefind.search(words);
  const found = await Promise.all(results.slice(0, most).map((result) => result.data()));
  list.replaceChildren(...found.map(entry));
  const pages = `${results.length} ${results.length === 1 ? "page" : "pages"}`;
  status.textContent = results.length ? `${pages} with “${words}”` : `No page with “${words}”. Try a shorter beginning.`;
}

search();
