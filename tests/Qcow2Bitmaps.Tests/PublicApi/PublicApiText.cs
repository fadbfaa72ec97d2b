using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;

namespace Qcow2Bitmaps.Tests.PublicApi;

/// <summary>Writes the public surface of an assembly as text: a line for each type and each member.</summary>
internal static class PublicApiText
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    public static string Of(Assembly assembly)
    {
        var text = new StringBuilder();
        foreach (Type type in assembly.GetExportedTypes().OrderBy(static t => t.FullName, StringComparer.Ordinal))
        {
            text.Append(CultureInfo.InvariantCulture, $"{Kind(type)} {type.FullName}{Bases(type)}\n");
            foreach (string member in Members(type).Order(StringComparer.Ordinal))
            {
                text.Append(CultureInfo.InvariantCulture, $"    {member}\n");
            }
        }

        return text.ToString();
    }

    private static string Kind(Type type)
    {
        string kind = type.IsEnum ? "enum"
            : type.IsInterface ? "interface"
            : type.IsValueType ? (type.IsByRefLike ? "ref struct" : "struct")
            : "class";
        string modifier = type is { IsAbstract: true, IsSealed: true } ? "static "
            : type.IsInterface || type.IsValueType ? ""
            : type.IsAbstract ? "abstract " : type.IsSealed ? "sealed " : "";
        return modifier + kind;
    }

    private static string Bases(Type type)
    {
        IEnumerable<Type> bases = type.IsEnum ? [Enum.GetUnderlyingType(type)] : type.GetInterfaces();
        if (type is { IsClass: true, BaseType: { } parent } && parent != typeof(object))
        {
            bases = bases.Prepend(parent);
        }

        string[] names = [.. bases.Where(static b => b.IsPublic).Select(Name).Distinct(StringComparer.Ordinal)];
        return names.Length > 0 ? " : " + string.Join(", ", names) : "";
    }

    private static IEnumerable<string> Members(Type type)
    {
        if (type.IsEnum)
        {
            return Enum.GetNames(type).Select(name => $"{name} = {Convert.ToUInt64(Enum.Parse(type, name), CultureInfo.InvariantCulture)}");
        }

        return type.GetMembers(Declared)
            .Where(static m => m.GetCustomAttribute<CompilerGeneratedAttribute>() is null)
            .Select(Member)
            .OfType<string>();
    }

    private static string? Member(MemberInfo member) => member switch
    {
        FieldInfo field when IsVisible(field.Attributes.HasFlag(FieldAttributes.Public), field.IsFamily) =>
            $"{(field.IsLiteral ? "const " : field.IsStatic ? "static " : "")}{Name(field.FieldType)} {field.Name}",
        PropertyInfo property when Accessors(property) is { Length: > 0 } accessors =>
            $"{(property.GetAccessors(nonPublic: true)[0].IsStatic ? "static " : "")}{Name(property.PropertyType)} "
            + $"{property.Name}{Indexer(property)} {{ {accessors}}}",
        ConstructorInfo constructor when IsVisible(constructor.IsPublic, constructor.IsFamily) => $"new({Parameters(constructor)})",
        MethodInfo method when IsVisible(method.IsPublic, method.IsFamily)
            && (!method.IsSpecialName || method.Name.StartsWith("op_", StringComparison.Ordinal)) =>
            $"{(method.IsStatic ? "static " : "")}{Name(method.ReturnType)} {method.Name}({Parameters(method)})",
        _ => null,
    };

    private static bool IsVisible(bool isPublic, bool isFamily) => isPublic || isFamily;

    private static string Accessors(PropertyInfo property)
    {
        var text = new StringBuilder();
        foreach (MethodInfo accessor in property.GetAccessors(nonPublic: true).Where(static a => IsVisible(a.IsPublic, a.IsFamily)))
        {
            bool isInit = accessor.ReturnParameter.GetRequiredCustomModifiers().Contains(typeof(IsExternalInit));
            text.Append(accessor.ReturnType != typeof(void) ? "get; " : isInit ? "init; " : "set; ");
        }

        return text.ToString();
    }

    private static string Indexer(PropertyInfo property)
    {
        ParameterInfo[] parameters = property.GetIndexParameters();
        return parameters.Length == 0 ? "" : $"[{string.Join(", ", parameters.Select(Parameter))}]";
    }

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(Parameter));

    private static string Parameter(ParameterInfo parameter)
    {
        string direction = parameter.IsOut ? "out " : parameter.ParameterType.IsByRef ? (parameter.IsIn ? "in " : "ref ") : "";
        return $"{direction}{Name(parameter.ParameterType)} "
            + $"{parameter.Name}{(parameter.HasDefaultValue ? " = " + (parameter.DefaultValue ?? "default") : "")}";
    }

    private static string Name(Type type)
    {
        if (type.IsByRef || type.IsArray)
        {
            return Name(type.GetElementType()!) + (type.IsArray ? "[]" : "");
        }

        if (!type.IsGenericType)
        {
            return type.Name;
        }

        string name = type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)];
        return $"{name}<{string.Join(", ", type.GetGenericArguments().Select(Name))}>";
    }
}
