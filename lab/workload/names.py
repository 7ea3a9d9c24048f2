"""The words that generated orders are made of: goods of a trading house, and people in many countries. Pure."""

# ruff: noqa: RUF001 - names are written as their owners write them

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Land:
    """One country with its cities and names. In `postal`, # stands for a digit and @ for a capital."""

    country: str
    postal: str | None
    cities: tuple[str, ...]
    streets: tuple[str, ...]
    given: tuple[str, ...]
    family: tuple[str, ...]
    companies: tuple[str, ...]
    regions: tuple[str, ...] = ()


# SKU prefix, name, price of the smallest pack.
GOODS: tuple[tuple[str, str, str], ...] = (
    ("TEA-DARJ", "Darjeeling First Flush", "6.90"),
    ("TEA-ASSM", "Assam Broken Pekoe", "4.35"),
    ("TEA-SENC", "Sencha Shizuoka", "7.15"),
    ("TEA-ROOI", "Rooibos Cederberg", "3.85"),
    ("COF-YIRG", "Coffee Yirgacheffe, whole bean", "8.45"),
    ("COF-SANT", "Coffee Santos, whole bean", "5.95"),
    ("COF-MAND", "Coffee Mandheling, ground", "7.05"),
    ("SPI-PEPP", "Tellicherry Pepper", "2.375"),
    ("SPI-CINN", "Ceylon Cinnamon", "3.125"),
    ("SPI-SAFF", "Saffron Threads", "11.95"),
    ("SPI-PAPR", "Pimentón de la Vera", "2.65"),
    ("SPI-VANI", "Bourbon Vanilla Pods", "9.99"),
    ("OIL-KALA", "Olive Oil Kalamáta", "8.75"),
    ("OIL-JAEN", "Olive Oil Jaén", "7.95"),
    ("OIL-WALN", "Walnut Oil Périgord", "10.85"),
    ("CON-SARD", "Sardines à l'ancienne", "3.45"),
    ("CON-ANCH", "Anchovies from Cetara", "4.15"),
    ("CON-MACK", "Smoked Mackerel", "3.95"),
    ("SWE-NOUG", "Nougat de Montélimar", "5.25"),
    ("SWE-MARZ", "Lübecker Marzipan", "4.65"),
    ("SWE-LAKR", "Lakrits, salt", "2.95"),
    ("HON-HEAT", "Heather Honey", "6.35"),
    ("HON-ACAC", "Acacia Honey", "5.85"),
    ("SAL-FLEU", "Fleur de Sel, Guérande", "0.0925"),
)
# SKU suffix, its name, how much dearer than the smallest.
PACKS: tuple[tuple[str, str, str], ...] = (("S", "small", "1"), ("M", "medium", "2.2"), ("L", "catering", "7.5"))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split("|"))


def _land(
    country: str,
    postal: str | None,
    cities: str,
    streets: str,
    given: str,
    family: str,
    companies: str,
    regions: str = "",
) -> Land:
    return Land(
        country,
        postal,
        _words(cities),
        _words(streets),
        _words(given),
        _words(family),
        _words(companies),
        _words(regions) if regions else (),
    )


LANDS: tuple[Land, ...] = (
    _land(
        "Ireland",
        "@## @#@#",
        "Dublin|Cork|Galway",
        "O'Connell Street|St Patrick's Quay|Shop Street",
        "Siobhán|Pádraig|Aoife|Seán",
        "O'Brien|O'Súilleabháin|D'Arcy|Ní Dhomhnaill",
        "Murphy's Fine Foods|The Baker's Dozen Ltd",
    ),
    _land(
        "France",
        "#####",
        "Strasbourg|Nîmes|Orléans",
        "rue de l'Abbaye|place Kléber|quai d'Orsay",
        "Frédérique|Loïc|Anaïs|Hélène",
        "L'Écuyer|d'Alençon|Lefèbvre|Gaëtan-Noël",
        "L'Épicerie du Château|Crémerie Sœurs Bœuf",
    ),
    _land(
        "Germany",
        "#####",
        "München|Köln|Lübeck",
        "Königstraße|Große Bleichen|Am Mühlbach",
        "Jürgen|Käthe|Björn|Sören",
        "Müller-Lüdenscheidt|Weiß|Schröder|Großkopf",
        "Feinkost Böhm & Söhne|Kaffeehaus Zum Bären",
    ),
    _land(
        "Spain",
        "#####",
        "A Coruña|Málaga|León",
        "Calle Peñón|Avenida de la Constitución|C/ Araquil",
        "Íñigo|María José|Begoña|Andrés",
        "Núñez|Ibáñez|Muñoz|de la Peña",
        "Ultramarinos El Piñón|Bodegas Cañón",
        "Galicia|Andalucía",
    ),
    _land(
        "Portugal",
        "####-###",
        "Évora|Setúbal|Guimarães",
        "Rua da Conceição|Largo do Paço|Travessa de São João",
        "João|Conceição|Inês|Simão",
        "Gonçalves|Magalhães|Brandão|Araújo",
        "Padaria Três Irmãos|Mercearia São Brás",
    ),
    _land(
        "Poland",
        "##-###",
        "Łódź|Gdańsk|Kraków",
        "ulica Świętojańska|ulica Żółkiewskiego|plac Wolności",
        "Łukasz|Małgorzata|Zdzisław|Bożena",
        "Brzęczyszczykiewicz|Wójcik|Śliwiński|Żak",
        "Zażółć Gęślą Sp. z o.o.|Delikatesy Pod Lipą",
    ),
    _land(
        "Czechia",
        "### ##",
        "Plzeň|Ústí nad Labem|České Budějovice",
        "Náměstí Míru|Žižkova|Dvořákovo nábřeží",
        "Jiří|Růžena|Ondřej|Božena",
        "Dvořák|Černý|Procházková|Říha",
        "Lahůdky U Zlatého lva|Čajovna Růžička",
    ),
    _land(
        "Denmark",
        "####",
        "Århus|København|Helsingør",
        "Smagsløget|Vesterbrogade|Ågade",
        "Søren|Åse|Jørgen|Mette",
        "Sørensen|Kjærgaard|Bøgh|Nørgård",
        "Simons Bistro & Kaffe|Købmand Ærø",
    ),
    _land(
        "Sweden",
        "### ##",
        "Göteborg|Luleå|Malmö",
        "Berguvsvägen|Östra Hamngatan|Årstavägen",
        "Åsa|Göran|Märta|Björn",
        "Åström|Sjögren|Lönnqvist|Öberg",
        "Berglunds snabbköp|Folk och fä HB",
    ),
    _land(
        "Iceland",
        "###",
        "Reykjavík|Ísafjörður",
        "Skólavörðustígur|Hafnarstræti",
        "Þóra|Ægir|Guðrún|Þorsteinn",
        "Þórðarson|Jónsdóttir|Sigurðsson",
        "Fiskbúð Ólafs|Kaffi Öræfi",
    ),
    _land(
        "Türkiye",
        "#####",
        "İzmir|Eskişehir|Muğla",
        "Atatürk Caddesi|Gül Sokağı|Çınar Sokak",
        "Çağla|İbrahim|Gülşen|Ömer",
        "Yıldız|Öztürk|Şahin|Güneş",
        "Baharatçı Işık|Çaycı Kardeşler",
    ),
    _land(
        "Hungary",
        "####",
        "Győr|Pécs|Székesfehérvár",
        "Széchenyi tér|Kossuth Lajos utca|Fő utca",
        "Ágnes|György|Zsófia|Ödön",
        "Szőke|Kővári|Fűzfa|Erdős",
        "Fűszerbolt Kft.|Hűvösvölgyi Teaház",
    ),
    _land(
        "Italy",
        "#####",
        "Forlì|Bergamo|L'Aquila",
        "Via dell'Università|Corso d'Italia|Piazza Libertà",
        "Niccolò|Maria Pìa|Donato|Chloé",
        "D'Angelo|Dell'Orto|De Nicolò|Sanità",
        "Caffè dell'Angelo|Magazzini Alimentari Perché No",
    ),
    _land(
        "Greece",
        "### ##",
        "Αθήνα|Θεσσαλονίκη",
        "Οδός Ερμού|Λεωφόρος Νίκης",
        "Αθηνά|Γιώργος|Ελένη",
        "Παπαδοπούλου|Οικονόμου|Αγγελόπουλος",
        "Καφεκοπτείο Ο Ήλιος",
    ),
    _land(
        "Bulgaria",
        "####",
        "София|Пловдив",
        "бул. Витоша|ул. Шипка",
        "Юлия|Щилиян|Жельо",
        "Йорданов|Чакърова|Цветков",
        "Чайна къща Роза",
    ),
    _land(
        "Brazil",
        "#####-###",
        "São Paulo|Florianópolis|Belém",
        "Avenida Brasília|Rua do Paço|Praça da Sé",
        "Antônio|Conceição|Jânio|Luísa",
        "Conceição|Guimarães|Araújo|d'Ávila",
        "Comércio Mineiro|Empório São João",
        "SP|SC|PA",
    ),
    _land(
        "Mexico",
        "#####",
        "México D.F.|Mérida|Querétaro",
        "Avda. de la Constitución|Calle Juárez|Paseo Montejo",
        "Jesús|Guadalupe|Ángel|Verónica",
        "Hernández|Peña|Zúñiga|Ordóñez",
        "Antojitos Doña Lucía|Abarrotes El Ángel",
        "Yucatán|Querétaro",
    ),
    _land(
        "Senegal",
        None,
        "Dakar|Saint-Louis",
        "Rue de l'Île|Avenue Léopold Sédar Senghor",
        "Aïssatou|Ndèye|Cheikh",
        "N'Diaye|M'Backé|Seck",
        "Épicerie de l'Océan",
    ),
    _land(
        "Viet Nam",
        "######",
        "Hà Nội|Đà Nẵng",
        "phố Hàng Đào|đường Trần Phú",
        "Thị Hồng Ngọc|Văn Lữ|Minh Đức",
        "Nguyễn|Đặng|Trần",
        "Trà Việt Cổ",
    ),
    _land(
        "United States",
        "#####",
        "Coeur d'Alene|San José|St. Paul",
        "O'Farrell Street|Cañon Drive|Main St.",
        "Renée|D'Andre|Zoë|José",
        "O'Neill|Peña|Smith-D'Souza|Brontë",
        "Trader O'Malley's|Café Olé Inc.",
        "ID|CA|MN",
    ),
)
