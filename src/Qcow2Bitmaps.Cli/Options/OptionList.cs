using System.Globalization;
using System.Text;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Cli.Options;

/// <summary>The options of <c>-o</c> as in qemu-img: <c>name=value</c> between commas; a doubled comma stands for one.</summary>
internal sealed class OptionList
{
    private readonly OptionDescription[] _descriptions;
    private readonly Dictionary<string, OptionValue> _values = new(StringComparer.Ordinal);

    public OptionList(OptionDescription[] descriptions)
    {
        _descriptions = descriptions;
        foreach (OptionDescription description in descriptions)
        {
            if (description.Default is not null)
            {
                _values.Add(description.Name, Parse(description, description.Default, out _));
            }
        }
    }

    /// <summary>Whether a text can be a list: not empty, no comma at the start, no single comma at the end.</summary>
    public static bool IsValid(string options) =>
        options.Length > 0 && options[0] != ',' && (options.Length - options.TrimEnd(',').Length) % 2 == 0;

    /// <summary>Whether any of the options asks for help.</summary>
    public static bool AsksForHelp(string options) => Split(options).Any(static option => option.Text is "help" or "?");

    /// <summary>Adds options; a later one replaces an earlier one.</summary>
    /// <returns>The first error, in qemu-img's words; null if all are valid.</returns>
    public string? Add(string options)
    {
        foreach ((string text, int nameLength) in Split(options))
        {
            (string name, string value) = NameAndValue(text, nameLength);
            // QEMU's name for the list itself; it has no meaning here.
            if (string.Equals(name, "id", StringComparison.Ordinal))
            {
                continue;
            }

            if (Add(name, value) is { } fault)
            {
                return fault;
            }
        }

        return null;
    }

    /// <summary>Adds one option.</summary>
    public string? Add(string name, string value)
    {
        if (Find(name) is not { } description)
        {
            return PrintableMessage.Of($"Invalid parameter '{name}'");
        }

        OptionValue parsed = Parse(description, value, out string? fault);
        if (fault is null)
        {
            _values[name] = parsed;
        }

        return fault;
    }

    /// <summary>Sets a size that was given elsewhere.</summary>
    public void Set(string name, ulong number) => _values[name] = new OptionValue("", number);

    public bool Has(string name) => _values.ContainsKey(name);

    public string? Text(string name) => _values.TryGetValue(name, out OptionValue value) ? value.Text : null;

    public ulong Number(string name) => _values.TryGetValue(name, out OptionValue value) ? value.Number : 0;

    public bool IsOn(string name) => Number(name) != 0;

    /// <summary>The values as qemu-img shows them: in the order of the descriptions, commas doubled.</summary>
    public string Show()
    {
        var text = new StringBuilder();
        foreach (OptionDescription description in _descriptions)
        {
            if (!_values.TryGetValue(description.Name, out OptionValue value))
            {
                continue;
            }

            text.Append(' ').Append(description.Name).Append('=').Append(description.Kind switch
            {
                // QEMU shows these as signed numbers.
                OptionKind.Number or OptionKind.Size => unchecked((long)value.Number).ToString(CultureInfo.InvariantCulture),
                _ => value.Text.Replace(",", ",,", StringComparison.Ordinal),
            });
        }

        return text.ToString();
    }

    private OptionDescription? Find(string name) =>
        Array.Find(_descriptions, description => string.Equals(description.Name, name, StringComparison.Ordinal));

    /// <summary>A name without a value is switched on, or off if prefixed with "no".</summary>
    private static (string Name, string Value) NameAndValue(string text, int nameLength) =>
        nameLength >= 0 ? (text[..nameLength], text[(nameLength + 1)..])
        : text.StartsWith("no", StringComparison.Ordinal) ? (text[2..], "off")
        : (text, "on");

    /// <summary>The options one by one, and where in each the name ends; -1 without a value.</summary>
    private static IEnumerable<(string Text, int NameLength)> Split(string options)
    {
        var text = new StringBuilder();
        int nameLength = -1;
        for (int i = 0; i < options.Length; i++)
        {
            char c = options[i];
            if (c == ',')
            {
                // A doubled comma stands for one only in a value.
                if (nameLength < 0 || i + 1 == options.Length || options[i + 1] != ',')
                {
                    yield return (text.ToString(), nameLength);
                    text.Clear();
                    nameLength = -1;
                    continue;
                }

                i++;
            }
            else if (c == '=' && nameLength < 0)
            {
                nameLength = text.Length;
            }

            text.Append(c);
        }

        if (text.Length > 0)
        {
            yield return (text.ToString(), nameLength);
        }
    }

    private static OptionValue Parse(OptionDescription description, string value, out string? fault)
    {
        fault = null;
        ulong number = 0;
        switch (description.Kind)
        {
            case OptionKind.Boolean when value is "on" or "yes" or "true" or "y":
                return new OptionValue(value, 1);
            case OptionKind.Boolean when value is not ("off" or "no" or "false" or "n"):
                fault = $"Parameter '{description.Name}' expects 'on' or 'off'";
                break;
            case OptionKind.Number:
                fault = ByteCount.ParseNumber(value, out number) switch
                {
                    NumberSyntax.Invalid => $"Parameter '{description.Name}' expects a number",
                    NumberSyntax.OutOfRange => PrintableMessage.Of($"Value '{value}' is too large for parameter '{description.Name}'"),
                    _ => null,
                };
                break;
            case OptionKind.Size:
                fault = ByteCount.Parse(value, out number) switch
                {
                    NumberSyntax.Invalid =>
                        $"Parameter '{description.Name}' expects a non-negative number below 2^64\nOptional suffix k, M, G, T, "
                        + $"P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.",
                    NumberSyntax.OutOfRange => PrintableMessage.Of($"Value '{value}' is out of range for parameter '{description.Name}'"),
                    _ => null,
                };
                break;
            default:
                break;
        }

        return new OptionValue(value, number);
    }
}
