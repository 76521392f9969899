"""The closed vocabulary of the emoji world: colours, places, numbers, relations and sizes in twelve languages.

All words are citation forms: no article, gender, case or agreement, as CLDR's names have none either, so that
captions in ten of the languages are lists ("X — left, Y — right"). English and Korean words also stand in full
sentences; what Korean needs beyond the citation form (adnominal colours, counting numerals) is in `KOREAN`.
"""

from __future__ import annotations

LANGUAGES: tuple[str, ...] = ("en", "ko", "ja", "zh", "es", "fr", "de", "ru", "ar", "hi", "vi", "id")

# Plates: saturated, apart in hue or lightness for any pair. The first four are the furthest apart, as scenes
# with `plates=4` use these.
_PLATE_RGB = {
    "red": (214, 40, 42),
    "blue": (38, 92, 214),
    "green": (40, 158, 72),
    "yellow": (247, 206, 30),
    "purple": (140, 66, 178),
    "orange": (241, 122, 26),
    "cyan": (36, 196, 214),
    "grey": (90, 94, 102),
}

# Backgrounds: pale, so that no background is mistaken for a plate; their names are used for nothing else.
_BACKGROUND_RGB = {
    "cream": (255, 242, 196),
    "azure": (190, 222, 255),
    "mint": (192, 243, 212),
    "blush": (255, 205, 220),
    "lilac": (220, 202, 250),
    "sand": (226, 200, 160),
    "silver": (200, 204, 210),
    "white": (255, 255, 255),
}

COLOURS: tuple[str, ...] = tuple(_PLATE_RGB)
COLOUR_RGB: tuple[tuple[int, int, int], ...] = tuple(_PLATE_RGB.values())
BACKGROUNDS: tuple[str, ...] = tuple(_BACKGROUND_RGB)
BACKGROUND_RGB: tuple[tuple[int, int, int], ...] = tuple(_BACKGROUND_RGB.values())

CELLS: tuple[str, ...] = ("top left", "top right", "bottom left", "bottom right")  # index = cell of a scene
SIDES: tuple[str, ...] = ("left", "right", "top", "bottom")
RELATIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
NUMBERS: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZES: tuple[str, ...] = ("small", "large")
GENERAL: tuple[str, ...] = (
    "background",
    "plate",
    "picture",
    "object",
    "colour",
    "size",
    "number",
    "place",
    "empty",
    "yes",
    "no",
    "true",
    "false",
    "and",
    "or",
    "on",
)

# One line a term, in the order of LANGUAGES.
_TABLE = """
red|빨간색|赤|红色|rojo|rouge|rot|красный|أحمر|लाल|đỏ|merah
blue|파란색|青|蓝色|azul|bleu|blau|синий|أزرق|नीला|xanh dương|biru
green|초록색|緑|绿色|verde|vert|grün|зелёный|أخضر|हरा|xanh lá|hijau
yellow|노란색|黄|黄色|amarillo|jaune|gelb|жёлтый|أصفر|पीला|vàng|kuning
purple|보라색|紫|紫色|morado|violet|lila|фиолетовый|بنفسجي|बैंगनी|tím|ungu
orange|주황색|橙|橙色|naranja|orange|orange|оранжевый|برتقالي|नारंगी|cam|oranye
cyan|청록색|水色|青色|cian|cyan|cyan|бирюзовый|سماوي|फ़िरोज़ी|xanh lơ|sian
grey|회색|灰色|灰色|gris|gris|grau|серый|رمادي|धूसर|xám|abu-abu
cream|크림색|クリーム色|奶油色|crema|crème|creme|кремовый|كريمي|मलाई|kem|krem
azure|하늘색|空色|天蓝色|celeste|azur|himmelblau|голубой|لازوردي|आसमानी|xanh da trời|biru langit
mint|민트색|ミント色|薄荷色|menta|menthe|mint|мятный|نعناعي|पुदीना|bạc hà|mint
blush|연분홍색|薄桃色|浅粉色|rosado|rose pâle|rosé|розоватый|وردي|गुलाबी|hồng phấn|merah muda
lilac|연보라색|藤色|淡紫色|lila|lilas|flieder|сиреневый|ليلكي|बकाइन|tím nhạt|lila
sand|모래색|砂色|沙色|arena|sable|sand|песочный|رملي|रेतीला|màu cát|pasir
silver|은색|銀色|银色|plateado|argent|silber|серебристый|فضي|रुपहला|bạc|perak
white|흰색|白|白色|blanco|blanc|weiß|белый|أبيض|सफ़ेद|trắng|putih
top left|왼쪽 위|左上|左上|arriba izquierda|en haut à gauche|oben links|слева вверху|أعلى اليسار|ऊपर बाएँ|trên trái|kiri atas
top right|오른쪽 위|右上|右上|arriba derecha|en haut à droite|oben rechts|справа вверху|أعلى اليمين|ऊपर दाएँ|trên phải|kanan atas
bottom left|왼쪽 아래|左下|左下|abajo izquierda|en bas à gauche|unten links|слева внизу|أسفل اليسار|नीचे बाएँ|dưới trái|kiri bawah
bottom right|오른쪽 아래|右下|右下|abajo derecha|en bas à droite|unten rechts|справа внизу|أسفل اليمين|नीचे दाएँ|dưới phải|kanan bawah
left|왼쪽|左|左|izquierda|gauche|links|слева|يسار|बाएँ|trái|kiri
right|오른쪽|右|右|derecha|droite|rechts|справа|يمين|दाएँ|phải|kanan
top|위쪽|上|上|arriba|haut|oben|вверху|أعلى|ऊपर|trên|atas
bottom|아래쪽|下|下|abajo|bas|unten|внизу|أسفل|नीचे|dưới|bawah
left of|왼쪽|左側|左边|a la izquierda de|à gauche de|links von|слева от|على يسار|के बाएँ|bên trái|di kiri
right of|오른쪽|右側|右边|a la derecha de|à droite de|rechts von|справа от|على يمين|के दाएँ|bên phải|di kanan
above|위|上側|上面|encima de|au-dessus de|über|над|فوق|के ऊपर|phía trên|di atas
below|아래|下側|下面|debajo de|au-dessous de|unter|под|تحت|के नीचे|phía dưới|di bawah
zero|영|零|零|cero|zéro|null|ноль|صفر|शून्य|không|nol
one|하나|一|一|uno|un|eins|один|واحد|एक|một|satu
two|둘|二|二|dos|deux|zwei|два|اثنان|दो|hai|dua
three|셋|三|三|tres|trois|drei|три|ثلاثة|तीन|ba|tiga
four|넷|四|四|cuatro|quatre|vier|четыре|أربعة|चार|bốn|empat
five|다섯|五|五|cinco|cinq|fünf|пять|خمسة|पाँच|năm|lima
six|여섯|六|六|seis|six|sechs|шесть|ستة|छह|sáu|enam
seven|일곱|七|七|siete|sept|sieben|семь|سبعة|सात|bảy|tujuh
eight|여덟|八|八|ocho|huit|acht|восемь|ثمانية|आठ|tám|delapan
nine|아홉|九|九|nueve|neuf|neun|девять|تسعة|नौ|chín|sembilan
small|작은|小|小|pequeño|petit|klein|маленький|صغير|छोटा|nhỏ|kecil
large|큰|大|大|grande|grand|groß|большой|كبير|बड़ा|lớn|besar
background|배경|背景|背景|fondo|fond|Hintergrund|фон|خلفية|पृष्ठभूमि|nền|latar
plate|판|板|底板|placa|plaque|Platte|плашка|لوحة|पट्टी|tấm nền|pelat
picture|그림|絵|图片|imagen|image|Bild|картинка|صورة|चित्र|hình|gambar
object|물건|物|物体|objeto|objet|Objekt|предмет|شيء|वस्तु|vật|benda
colour|색|色|颜色|color|couleur|Farbe|цвет|لون|रंग|màu|warna
size|크기|大きさ|大小|tamaño|taille|Größe|размер|حجم|आकार|kích cỡ|ukuran
number|수|数|数量|número|nombre|Anzahl|число|عدد|संख्या|số lượng|jumlah
place|자리|場所|位置|lugar|place|Ort|место|مكان|स्थान|vị trí|tempat
empty|빈|空|空|vacío|vide|leer|пусто|فارغ|ख़ाली|trống|kosong
yes|네|はい|是|sí|oui|ja|да|نعم|हाँ|có|ya
no|아니요|いいえ|不是|no|non|nein|нет|لا|नहीं|không có|tidak
true|참|真|真|verdadero|vrai|wahr|верно|صحيح|सच|đúng|benar
false|거짓|偽|假|falso|faux|falsch|неверно|خطأ|झूठ|sai|salah
and|그리고|と|和|y|et|und|и|و|और|và|dan
or|또는|または|或|o|ou|oder|или|أو|या|hoặc|atau
on|위에|上に|在|sobre|sur|auf|на|على|पर|trên nền|pada
"""  # noqa: E501 (a row is easier to check than to wrap)

WORDS: dict[str, dict[str, str]] = {
    line.split("|")[0]: dict(zip(LANGUAGES, line.split("|"), strict=True)) for line in _TABLE.strip().splitlines()
}

# Korean beyond citation forms: adnominal colours ("빨간 판"; the others modify a noun as they are, "보라색 판"),
# and the native numerals as they stand before a counter ("세 개", "네 마리").
KOREAN: dict[str, dict[str, str]] = {
    "adnominal": {"red": "빨간", "blue": "파란", "green": "초록", "yellow": "노란", "white": "흰"},
    "counting": {
        "one": "한",
        "two": "두",
        "three": "세",
        "four": "네",
        "five": "다섯",
        "six": "여섯",
        "seven": "일곱",
        "eight": "여덟",
        "nine": "아홉",
    },
}


def check_language(language: str) -> None:
    """Raises ValueError, naming the languages there are, for one that the world does not have."""
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}: the emoji world has {', '.join(LANGUAGES)}; choose one")


def word(term: str, language: str = "en") -> str:
    """The citation form of `term` (an English key of `WORDS`) in `language`.

    Raises ValueError for a term or a language the world does not have.
    """
    check_language(language)
    if term not in WORDS:
        raise ValueError(f"unknown term {term!r}: choose one of {', '.join(WORDS)}")
    return WORDS[term][language]


def words(terms: tuple[str, ...], language: str = "en") -> tuple[str, ...]:
    """`word` for several terms, in their order, e.g. `words(COLOURS, "ko")`."""
    return tuple(word(term, language) for term in terms)


def adnominal(term: str) -> str:
    """Korean colour in front of a noun: "빨간" for red, "보라색" for purple.

    Raises ValueError for a term the world does not have.
    """
    return KOREAN["adnominal"].get(term) or word(term, "ko")
