using System.Globalization;
using System.Text.Json;

namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>
/// Reads the members of an object, and rejects missing, mistyped and unknown ones with QEMU's messages. A number in a string is accepted as
/// a number, with a warning: older documents use that. Not thread-safe.
/// </summary>
/// <param name="value">The object.</param>
/// <param name="path">Its path: empty, or ending in a dot.</param>
/// <param name="warn">Receives a warning for each deviation that was accepted.</param>
internal sealed class QmpArguments(JsonElement value, string path, Action<string> warn)
{
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);

    public Action<string> Warn => warn;

    public string String(string name) => OptionalString(name) ?? throw Missing(name);

    public string? OptionalString(string name) => TryGet(name, out JsonElement member) ? StringOf(member, path + name) : null;

    public bool? OptionalBoolean(string name) => !TryGet(name, out JsonElement member) ? null
        : member.ValueKind is JsonValueKind.True or JsonValueKind.False ? member.GetBoolean()
        : throw WrongType(path + name, "boolean");

    public long Integer(string name) => OptionalInteger(name) ?? throw Missing(name);

    /// <summary>A whole number of 64 bits with a sign.</summary>
    public long? OptionalInteger(string name) => !TryGet(name, out JsonElement member) ? null
        : Number(member, name) is { } text
            && long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number)
            ? number
        : throw WrongType(path + name, "integer");

    /// <summary>A whole number of 32 bits without sign.</summary>
    public uint? OptionalUInt32(string name)
    {
        if (!TryGet(name, out JsonElement member))
        {
            return null;
        }

        // QEMU reads 64 bits with or without sign first, and complains of each in its own words.
        if (
            Number(member, name) is not { } text
                || !Int128.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out Int128 number)
            || number < long.MinValue || number > ulong.MaxValue)
        {
            throw new QmpException($"Parameter '{path}{name}' expects uint64");
        }

        return number >= 0 && number <= uint.MaxValue ? (uint)number : throw new QmpException($"Parameter '{name}' expects uint32_t");
    }

    public T OneOf<T>(string name, params ReadOnlySpan<(string Word, T Value)> words)
        where T : struct => OptionalOneOf(name, words) ?? throw Missing(name);

    public T? OptionalOneOf<T>(string name, params ReadOnlySpan<(string Word, T Value)> words)
        where T : struct
    {
        if (!TryGet(name, out JsonElement member))
        {
            return null;
        }

        string given = StringOf(member, path + name);
        foreach ((string word, T chosen) in words)
        {
            if (string.Equals(word, given, StringComparison.Ordinal))
            {
                return chosen;
            }
        }

        throw NotAccepted(name, given);
    }

    public IReadOnlyList<JsonElement> List(string name) => OptionalList(name) ?? throw Missing(name);

    public IReadOnlyList<JsonElement>? OptionalList(string name) => !TryGet(name, out JsonElement member) ? null
        : member.ValueKind == JsonValueKind.Array ? [.. member.EnumerateArray()]
        : throw WrongType(path + name, "array");

    public QmpArguments Object(string name) => OptionalObject(name) ?? throw Missing(name);

    public QmpArguments? OptionalObject(string name) => TryGet(name, out JsonElement member) ? ObjectOf(member, path + name) : null;

    /// <summary>The item of a list as an object.</summary>
    public QmpArguments Item(string name, int index, JsonElement item) =>
        ObjectOf(item, string.Create(CultureInfo.InvariantCulture, $"{path}{name}[{index}]"));

    /// <summary>Accepts a member without checking it.</summary>
    public bool Has(string name) => TryGet(name, out _);

    /// <summary>Refuses unknown members. Call it before anything is done.</summary>
    /// <exception cref="QmpException">There is one.</exception>
    public void Finish()
    {
        foreach (JsonProperty member in value.EnumerateObject())
        {
            if (!_known.Contains(member.Name))
            {
                throw new QmpException($"Parameter '{path}{member.Name}' is unexpected");
            }
        }
    }

    /// <summary>The error for a word that is not allowed. QEMU names an item of a list 'null'.</summary>
    public static QmpException NotAccepted(string name, string given) => new($"Parameter '{name}' does not accept value '{given}'");

    public static QmpException WrongType(string name, string expected) => new($"Invalid parameter type for '{name}', expected: {expected}");

    private bool TryGet(string name, out JsonElement member)
    {
        _known.Add(name);
        return value.TryGetProperty(name, out member);
    }

    private QmpException Missing(string name) => new($"Parameter '{path}{name}' is missing");

    private QmpArguments ObjectOf(JsonElement member, string name) => member.ValueKind == JsonValueKind.Object
        ? new QmpArguments(member, name + ".", warn)
        : throw WrongType(name, "object");

    private static string StringOf(JsonElement member, string name) => member.ValueKind == JsonValueKind.String
        ? member.GetString()!
        : throw WrongType(name, "string");

    private string? Number(JsonElement member, string name)
    {
        if (member.ValueKind == JsonValueKind.Number)
        {
            return member.GetRawText();
        }

        if (member.ValueKind != JsonValueKind.String
            || !Int128.TryParse(member.GetString(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out Int128 number))
        {
            return null;
        }

        warn($"parameter '{path}{name}' is a string; taken as the number {number.ToString(CultureInfo.InvariantCulture)}");
        return member.GetString();
    }
}
