using Qcow2Bitmaps.Qmp.Protocol;

namespace Qcow2Bitmaps.Qmp.Nodes;

/// <summary>The images by name, in the order given. Immutable. A name is both the node's and the device's.</summary>
internal sealed class QmpNodes(IReadOnlyList<QmpNode> nodes)
{
    private const int MaxNodeName = 31;

    public IReadOnlyList<QmpNode> All => nodes;

    public QmpNode? Find(string name) => nodes.FirstOrDefault(node => string.Equals(node.Name, name, StringComparison.Ordinal));

    /// <summary>For commands that take a node.</summary>
    /// <exception cref="QmpException">There is none.</exception>
    public QmpNode Node(string name) => Find(name) ?? throw new QmpException($"Node '{name}' not found");

    /// <summary>For commands that take a device, or a node.</summary>
    /// <exception cref="QmpException">There is none.</exception>
    public QmpNode Device(string name) => Find(name) ?? throw new QmpException($"Cannot find device='{name}' nor node-name='{name}'");

    /// <summary>Whether a name is one that QEMU would take for a node.</summary>
    public static bool IsNodeName(string name) => IsId(name) && name.Length <= MaxNodeName;

    /// <summary>Whether QEMU takes a name for a job: a letter, then letters, digits, <c>-</c>, <c>.</c> and <c>_</c>.</summary>
    public static bool IsId(string name) =>
        name.Length > 0 && char.IsAsciiLetter(name[0]) && name.All(static c => char.IsAsciiLetterOrDigit(c) || c is '-' or '.' or '_');
}
