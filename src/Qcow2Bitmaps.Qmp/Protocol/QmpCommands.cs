namespace Qcow2Bitmaps.Qmp.Protocol;

/// <summary>The commands by name. Filled once, before use.</summary>
internal sealed class QmpCommands
{
    private readonly Dictionary<string, QmpHandler> _handlers = new(StringComparer.Ordinal);

    public IEnumerable<string> Names => _handlers.Keys;

    public void Add(string name, QmpHandler handler) => _handlers.Add(name, handler);

    public QmpHandler? Find(string name) => _handlers.GetValueOrDefault(name);
}
