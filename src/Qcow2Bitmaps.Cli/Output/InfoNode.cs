namespace Qcow2Bitmaps.Cli.Output;

/// <summary>A piece of format-specific information: one tree, shown as text and as JSON.</summary>
/// <param name="Name">The JSON name; dashes show as spaces in text. Empty in a list.</param>
internal abstract record InfoNode(string Name)
{
    /// <summary>Text, a number or a truth value.</summary>
    public sealed record Leaf(string Name, object Value) : InfoNode(Name);

    /// <summary>Named pieces.</summary>
    public sealed record Group(string Name, IReadOnlyList<InfoNode> Members) : InfoNode(Name);

    /// <summary>Numbered pieces.</summary>
    public sealed record Items(string Name, IReadOnlyList<InfoNode> Members) : InfoNode(Name);
}
